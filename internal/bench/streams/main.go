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
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
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
