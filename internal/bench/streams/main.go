// SPDX-License-Identifier: Apache-2.0

// Command streams opens many answers at once through the sample's backend and
// agent, each a process of its own, and says what that costs:
//
//	cd internal/bench && go run ./streams
//
// The model is this program: it thinks for two seconds, and then says a word a
// second in each answer until all are open and for some seconds more. Added
// latency is what lies between the page's request and the answer's first word,
// over what the model's own answer takes when this program asks it itself, at the
// same rate and time: two HTTP services, the check of the ID token, the stores,
// and the way back. Users come at a steady rate. The memory is what the two
// processes had resident at most.
//
// Everything, the readers and the model included, runs on the cores of this
// machine.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agent-identity/agent-identity-go/internal/sse"
)

var (
	streams = flag.Int("streams", 1000, "answers that are open at once")
	perSec  = flag.Int("rate", 50, "how many begin in a second")
	hold    = flag.Duration("hold", 10*time.Second, "how long all stay open")
)

const think = 2 * time.Second

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "streams:", err)
		os.Exit(1)
	}
}

func run() error {
	work, err := os.MkdirTemp("", "streams-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	binary := filepath.Join(work, "endtoend")
	build := exec.Command("go", "build", "-o", binary, "./examples/endtoend")
	build.Dir, build.Stderr = "../..", os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("building the sample (run this in internal/bench): %w", err)
	}
	model := &model{end: make(chan struct{})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(l, model) }()
	model.url = "http://" + l.Addr().String()

	backendAddr, err := freeAddr()
	if err != nil {
		return err
	}
	page := "http://" + backendAddr
	cloud, err := start(binary, work, nil, "cloud", "-addr", "127.0.0.1:0", "-redirect-uri", page, "-return-url", page+"/callback")
	if err != nil {
		return err
	}
	defer cloud.stop()
	env := append(cloud.exports,
		"DASHSCOPE_HTTP_BASE_URL=http://"+l.Addr().String(), "DASHSCOPE_API_KEY=sk-bench", "DASHSCOPE_MODEL_NAME=bench",
		"CHATS_PER_MINUTE=-1", "REQUESTS_PER_MINUTE=-1", "LOG_LEVEL=warn", "APP_REDIRECT_URI="+page, "INBOUND_REDIRECT_URI="+page)
	agent, err := start(binary, work, append(env, "STORE="+filepath.Join(work, "agent.db")), "agent", "-local", "-addr", "localhost:0")
	if err != nil {
		return err
	}
	defer agent.stop()
	backend, err := start(binary, work, append(env, "STORE="+filepath.Join(work, "backend.db"), "AGENT_ENDPOINT="+agent.url+"/process"), "backend", "-local", "-addr", backendAddr)
	if err != nil {
		return err
	}
	defer backend.stop()
	person, err := signIn(page, cloud.url)
	if err != nil {
		return fmt.Errorf("signing in: %w", err)
	}
	if err := person.warm(page); err != nil {
		return err
	}
	return load(page, person, model, agent, backend)
}

// load opens the answers and reports.
func load(page string, p *person, m *model, agent, backend *process) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var first, own []time.Duration
	var failures atomic.Int64
	var words atomic.Int64
	ticker := time.NewTicker(time.Second / time.Duration(*perSec))
	defer ticker.Stop()
	for i := range *streams {
		<-ticker.C
		wg.Go(func() {
			took, n, err := p.ask(page, fmt.Sprintf("stream-%d", i))
			words.Add(int64(n))
			if err != nil {
				failures.Add(1)
				fmt.Fprintln(os.Stderr, "stream:", err)
				return
			}
			mu.Lock()
			first = append(first, took)
			mu.Unlock()
		})
		if i%10 == 5 {
			wg.Go(func() {
				took, err := m.ask()
				if err != nil {
					failures.Add(1)
					fmt.Fprintln(os.Stderr, "model:", err)
					return
				}
				mu.Lock()
				own = append(own, took)
				mu.Unlock()
			})
		}
		if i%100 == 99 {
			fmt.Fprintf(os.Stderr, "\r%d of %d opened", i+1, *streams)
		}
	}
	time.Sleep(think + *hold)
	open := m.open.Load()
	agentMiB, backendMiB := agent.peak(), backend.peak()
	close(m.end)
	wg.Wait()
	slices.Sort(first)
	slices.Sort(own)
	at := func(of []time.Duration, q float64) time.Duration {
		if len(of) == 0 {
			return 0
		}
		return of[min(len(of)-1, int(q*float64(len(of))))]
	}
	base := at(own, .5)
	added := func(q float64) time.Duration { return (at(first, q) - base).Round(10 * time.Microsecond) }
	fmt.Fprintf(os.Stderr, "\r%30s\r", "")
	fmt.Printf("%d cores, %d answers opened, %d a second\n", runtime.NumCPU(), *streams, *perSec)
	fmt.Printf("  open at once          %d\n", open)
	fmt.Printf("  failed                %d\n", failures.Load())
	fmt.Printf("  words read            %d\n", words.Load())
	fmt.Printf("  model's first word    p50 %s\n", base.Round(10*time.Microsecond))
	fmt.Printf("  added to it           p50 %s   p90 %s   p99 %s   most %s\n", added(.5), added(.9), added(.99), added(1))
	fmt.Printf("  memory                agent %.0f MiB + backend %.0f MiB = %.0f MiB\n", agentMiB, backendMiB, agentMiB+backendMiB)
	if failures.Load() > 0 || open < int64(*streams) {
		return errors.New("not every answer was open until the end")
	}
	return nil
}

// model is DashScope as far as an answer in words needs it.
type model struct {
	url  string
	open atomic.Int64
	end  chan struct{}
}

func (m *model) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	begun := time.Now()
	w.Header().Set("Content-Type", "text/event-stream")
	events := http.NewResponseController(w)
	say := func(word, reason string) {
		fmt.Fprintf(w, "data:{\"output\":{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":%q},\"finish_reason\":%q}]}}\n\n", word, reason)
		_ = events.Flush()
	}
	if r.URL.Path == ownPath {
		time.Sleep(think - time.Since(begun))
		say("word", "stop")
		return
	}
	if r.Header.Get("X-Request-Id") != warmID {
		time.Sleep(think - time.Since(begun))
		m.open.Add(1)
		defer m.open.Add(-1)
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for talking := true; talking; {
			say("word ", "null")
			select {
			case <-ticker.C:
			case <-m.end:
				talking = false
			case <-r.Context().Done():
				return
			}
		}
	}
	say("end", "stop")
}

const (
	warmID  = "warm-up-request"
	ownPath = "/own"
)

// ask asks the model itself: how long its first word takes.
func (m *model) ask() (time.Duration, error) {
	begun := time.Now()
	resp, err := http.Post(m.url+ownPath, "application/json", strings.NewReader("{}"))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	for ev, err := range sse.Read(resp.Body, 0) {
		if err != nil {
			return 0, err
		}
		if ev.Data != nil {
			return time.Since(begun), nil
		}
	}
	return 0, io.ErrUnexpectedEOF
}

// person is signed in.
type person struct {
	http   *http.Client
	handle string
}

func (p *person) send(page, chat, id string) (*http.Response, error) {
	body := fmt.Sprintf(`{"session_id":%q,"accept_events":["authorization"],"input":[{"role":"user","content":[{"type":"text","text":"Tell me a story"}]}]}`, chat)
	req, err := http.NewRequest(http.MethodPost, page+"/chat", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("SESSION-ID", p.handle)
	if id != "" {
		req.Header.Set("X-Request-Id", id)
	}
	return p.http.Do(req)
}

// warm lets both services do what they do once: fetch keys, connect.
func (p *person) warm(page string) error {
	resp, err := p.send(page, "warm-up", warmID)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && !bytes.Contains(text, []byte(`"completed"`)) {
		err = fmt.Errorf("status %s: %s", resp.Status, text)
	}
	return err
}

// ask reads an answer to its end: how long its first word took, and how many
// there were.
func (p *person) ask(page, chat string) (first time.Duration, words int, err error) {
	begun := time.Now()
	resp, err := p.send(page, chat, "")
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, 0, fmt.Errorf("status %s", resp.Status)
	}
	for ev, err := range sse.Read(resp.Body, 0) {
		switch {
		case err != nil:
			return 0, words, err
		case bytes.Contains(ev.Data, []byte(`"delta":true`)):
			if words++; words == 1 {
				first = time.Since(begun)
			}
		case bytes.Contains(ev.Data, []byte(`"object":"response"`)) && bytes.Contains(ev.Data, []byte(`"status":"completed"`)):
			return first, words, nil
		}
	}
	return 0, words, errors.New("the answer broke off")
}

var (
	hidden = regexp.MustCompile(`<input type="hidden" name="([a-z]+)" value="([^"]*)">`)
	target = regexp.MustCompile(`<form method="post" action="([^"]+)">`)
)

// signIn goes through the local cloud's page as a browser does.
func signIn(page, cloud string) (*person, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	p := &person{http: &http.Client{Jar: jar, Transport: transport, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), page) {
			return http.ErrUseLastResponse
		}
		return nil
	}}}
	resp, err := p.http.Get(page + "/auth")
	if err != nil {
		return nil, err
	}
	var link string
	err = json.NewDecoder(resp.Body).Decode(&link)
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	if resp, err = p.http.Get(link); err != nil {
		return nil, err
	}
	form := url.Values{"user": {"alice"}}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	action := target.FindSubmatch(text)
	if err != nil || action == nil {
		return nil, fmt.Errorf("no sign-in page: %s", resp.Status)
	}
	for _, f := range hidden.FindAllSubmatch(text, -1) {
		form.Set(string(f[1]), string(f[2]))
	}
	if resp, err = p.http.PostForm(cloud+string(action[1]), form); err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	back, err := resp.Location()
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]string{"code": back.Query().Get("code"), "state": back.Query().Get("state")})
	if err != nil {
		return nil, err
	}
	if resp, err = p.http.Post(page+"/callback_for_oauth", "application/json", bytes.NewReader(body)); err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var in struct {
		SessionID string `json:"session_id"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&in); err != nil || in.SessionID == "" {
		return nil, fmt.Errorf("status %s", resp.Status)
	}
	p.handle = in.SessionID
	return p, nil
}

// process is one of the sample's programs.
type process struct {
	cmd     *exec.Cmd
	url     string
	exports []string
}

// start starts a program and waits until it is ready.
func start(binary, work string, env []string, args ...string) (*process, error) {
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Stderr = work, os.Stderr
	cmd.Env = append(append(os.Environ(), "ALIBABA_CLOUD_ECS_METADATA_DISABLED=true"), env...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	p := &process{cmd: cmd}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if variable, ok := strings.CutPrefix(lines.Text(), "export "); ok {
			p.exports = append(p.exports, variable)
		}
		if address, ok := strings.CutPrefix(lines.Text(), "ready "); ok {
			p.url = address
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return p, nil
		}
	}
	return nil, fmt.Errorf("%s did not start: %w", args[0], cmd.Wait())
}

func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// peak is how much memory the process had resident at most, in MiB.
func (p *process) peak() float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0 // not Linux
	}
	for line := range strings.Lines(string(text)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kib); n == 1 {
			return kib / 1024
		}
	}
	return 0
}

// freeAddr is an address that nobody listens on now.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return net.JoinHostPort("localhost", port), err
}
