// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"iter"
)

// TokenVault is where users' tokens and keys are kept. Every account has the
// vault "default".
type TokenVault struct {
	Name        string `json:"TokenVaultName"`
	Description string `json:"Description"`
	// RoleArn is the RAM role that the vault uses.
	RoleArn string `json:"RoleArn"`
	// Encryption says with which key the vault encrypts.
	Encryption struct {
		KeyType   string `json:"KeyType"`
		KmsKeyArn string `json:"KmsKeyArn"`
	} `json:"EncryptionConfig"`
	Arn string `json:"TokenVaultArn"`
	// RFC 3339 texts in UTC.
	CreateTime string `json:"CreateTime"`
	UpdateTime string `json:"UpdateTime"`
}

// TokenVault reads a token vault.
func (c *Client) TokenVault(ctx context.Context, name string) (*TokenVault, error) {
	const op = "GetTokenVault"
	if err := required(op, "name", name); err != nil {
		return nil, err
	}
	return read[TokenVault](ctx, c, op, "TokenVault", params{"TokenVaultName": name})
}

// TokenVaults lists all token vaults.
func (c *Client) TokenVaults(ctx context.Context, page *Page) iter.Seq2[*TokenVault, error] {
	return list[TokenVault](ctx, c, "ListTokenVaults", "TokenVaults", page, nil)
}
