// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// paging are the parameters of a listing.
var paging = []string{"MaxResults", "NextToken"}

// controlOperations is the control plane. Updates leave what is not sent.
var controlOperations = map[string]operation{
	"CreateWorkloadIdentity": {
		required: []string{"WorkloadIdentityName"},
		optional: []string{
			"RoleArn", "CreateRAMRole", "IdentityProviderName", "AllowedResourceOAuth2ReturnURLs",
			"SessionBindingEnabled", "Description", "SourcePlatform", "SourceAgentArn",
		},
		run: (*Service).createWorkloadIdentity,
	},
	"GetWorkloadIdentity": {required: []string{"WorkloadIdentityName"}, run: (*Service).getWorkloadIdentity},
	"UpdateWorkloadIdentity": {
		required: []string{"WorkloadIdentityName"},
		optional: []string{"AllowedResourceOAuth2ReturnURLs", "Description", "IdentityProviderName", "RoleArn", "SessionBindingEnabled"},
		run:      (*Service).updateWorkloadIdentity,
	},
	"DeleteWorkloadIdentity": {required: []string{"WorkloadIdentityName"}, run: (*Service).deleteWorkloadIdentity},
	"ListWorkloadIdentities": {optional: paging, run: (*Service).listWorkloadIdentities},

	"CreateIdentityProvider": {
		required: []string{"IdentityProviderName", "DiscoveryURL", "AllowedAudience"}, optional: []string{"Description"}, run: (*Service).createIdentityProvider,
	},
	"GetIdentityProvider": {required: []string{"IdentityProviderName"}, run: (*Service).getIdentityProvider},
	"UpdateIdentityProvider": {
		required: []string{"IdentityProviderName"}, optional: []string{"DiscoveryURL", "AllowedAudience", "Description"}, run: (*Service).updateIdentityProvider,
	},
	"DeleteIdentityProvider": {required: []string{"IdentityProviderName"}, run: (*Service).deleteIdentityProvider},
	"ListIdentityProviders":  {optional: paging, run: (*Service).listIdentityProviders},

	"CreateAPIKeyCredentialProvider": {
		required: []string{"APIKeyCredentialProviderName", "APIKey"}, optional: []string{"Description", "TokenVaultName"}, run: (*Service).createAPIKeyProvider,
	},
	"GetAPIKeyCredentialProvider": {
		required: []string{"APIKeyCredentialProviderName"}, optional: []string{"TokenVaultName"}, run: (*Service).getAPIKeyProvider,
	},
	"UpdateAPIKeyCredentialProvider": {
		required: []string{"APIKeyCredentialProviderName"}, optional: []string{"APIKey", "Description", "TokenVaultName"}, run: (*Service).updateAPIKeyProvider,
	},
	"DeleteAPIKeyCredentialProvider": {
		required: []string{"APIKeyCredentialProviderName"}, optional: []string{"TokenVaultName"}, run: (*Service).deleteAPIKeyProvider,
	},
	"ListAPIKeyCredentialProviders": {optional: append([]string{"TokenVaultName"}, paging...), run: (*Service).listAPIKeyProviders},

	"CreateOAuth2CredentialProvider": {
		required: []string{"OAuth2CredentialProviderName", "CredentialProviderVendor", "OAuth2ProviderConfig"},
		optional: []string{"CallbackURL", "Description", "OAuthType", "TokenVaultName"},
		run:      (*Service).createOAuth2Provider,
	},
	"GetOAuth2CredentialProvider": {
		required: []string{"OAuth2CredentialProviderName"}, optional: []string{"TokenVaultName"}, run: (*Service).getOAuth2Provider,
	},
	"UpdateOAuth2CredentialProvider": {
		required: []string{"OAuth2CredentialProviderName"},
		optional: []string{"CredentialProviderVendor", "OAuth2ProviderConfig", "CallbackURL", "Description", "TokenVaultName"},
		run:      (*Service).updateOAuth2Provider,
	},
	"DeleteOAuth2CredentialProvider": {
		required: []string{"OAuth2CredentialProviderName"}, optional: []string{"TokenVaultName"}, run: (*Service).deleteOAuth2Provider,
	},
	"ListOAuth2CredentialProviders": {optional: append([]string{"TokenVaultName"}, paging...), run: (*Service).listOAuth2Providers},

	"GetTokenVault":   {required: []string{"TokenVaultName"}, run: (*Service).getTokenVault},
	"ListTokenVaults": {optional: paging, run: (*Service).listTokenVaults},
}

// defaultVault is the one vault of the local cloud.
const defaultVault = "default"

// record is what the control plane keeps of every object.
type record struct {
	Description      string
	created, updated time.Time
}

func (s *Service) newRecord(c *call) record {
	now := s.Clock.Now()
	return record{c.params["Description"], now, now}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// update notes that an object was changed.
func (s *Service) update(r *record, c *call) {
	if text, ok := c.params["Description"]; ok {
		r.Description = text
	}
	r.updated = s.Clock.Now()
}

func controlArn(kind, name string) string {
	return "acs:agentidentity:" + region + ":" + accountID + ":" + kind + "/" + name
}

func vaultArn(kind, name string) string {
	return controlArn("tokenvault/"+defaultVault+"/"+kind, name)
}

func absent(kind, name string) *Refusal {
	return &Refusal{404, "EntityNotExists." + kind, fmt.Sprintf("there is no %s %.80q", kind, name)}
}

func exists(kind, name string) *Refusal {
	return &Refusal{409, "EntityAlreadyExists." + kind, fmt.Sprintf("a %s %.80q exists", kind, name)}
}

// checkName refuses names that the service does not take, and vaults that are
// not there.
func checkName(c *call, parameter string) *Refusal {
	c.target = c.params[parameter]
	if !namePattern.MatchString(c.target) {
		return &Refusal{400, "InvalidParameter." + parameter, "want 1 to 128 letters, digits, _ and -"}
	}
	return checkVault(c)
}

func checkVault(c *call) *Refusal {
	if vault := c.params["TokenVaultName"]; vault != "" && vault != defaultVault {
		return absent("TokenVault", vault)
	}
	return nil
}

const (
	defaultPage = 20
	mostPage    = 100
)

// listObjects answers with a page of objects by name.
func listObjects[T any](c *call, key string, objects map[string]T, describe func(T) map[string]any) (map[string]any, *Refusal) {
	size := defaultPage
	if text := c.params["MaxResults"]; text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > mostPage {
			return nil, &Refusal{400, "InvalidParameter.MaxResults", fmt.Sprintf("want 1 to %d", mostPage)}
		}
		size = n
	}
	after := ""
	if token := c.params["NextToken"]; token != "" {
		b, err := base64.StdEncoding.DecodeString(token)
		name, ok := strings.CutPrefix(string(b), "after/")
		if err != nil || !ok {
			return nil, &Refusal{400, "InvalidParameter.NextToken", "the token is none of a listing's"}
		}
		after = name
	}
	names := slices.SortedFunc(maps.Keys(objects), cmp.Compare[string])
	first, found := slices.BinarySearch(names, after)
	if found {
		first++
	}
	page := names[first:min(len(names), first+size)]
	list := make([]any, 0, len(page))
	for _, name := range page {
		list = append(list, describe(objects[name]))
	}
	answer := map[string]any{key: list, "MaxResults": size, "TotalCount": len(names)}
	if first+size < len(names) {
		answer["NextToken"] = base64.StdEncoding.EncodeToString([]byte("after/" + page[len(page)-1]))
	}
	return answer, nil
}

func (s *Service) vault() map[string]any {
	return map[string]any{
		"TokenVaultName": defaultVault, "TokenVaultArn": controlArn("tokenvault", defaultVault), "Description": "",
		"EncryptionConfig": map[string]any{"KeyType": "SERVICE_MANAGED_KEY"},
		"CreateTime":       stamp(s.Clock.Now()), "UpdateTime": stamp(s.Clock.Now()),
	}
}

func (s *Service) getTokenVault(c *call) (map[string]any, *Refusal) {
	if ref := checkVault(c); ref != nil {
		return nil, ref
	}
	return map[string]any{"TokenVault": s.vault()}, nil
}

func (s *Service) listTokenVaults(c *call) (map[string]any, *Refusal) {
	return listObjects(c, "TokenVaults", map[string]bool{defaultVault: true}, func(bool) map[string]any { return s.vault() })
}
