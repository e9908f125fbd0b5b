// SPDX-License-Identifier: Apache-2.0

// Package sse reads and writes server-sent events as the HTML standard
// defines them (WHATWG HTML 9.2), with bounds on what a peer may send.
package sse

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"sync"
	"time"
)

// Event is one block of a stream.
type Event struct {
	Name string // event field, "" if none
	ID   string // id field of this block
	Data []byte // data lines, joined with LF; nil if there was none
	// Comment is the last comment of the block. The standard ignores it; some
	// services put their status there.
	Comment string
}

// ErrTooLarge reports an event above the limit.
var ErrTooLarge = errors.New("sse: event is too large")

// DefaultMaxEvent is the limit on one event that [Read] uses for zero, in
// bytes.
const DefaultMaxEvent = 8 << 20

// Read yields the events of a stream: those with data, and those with an event
// name or a comment alone. It ends without an error at the end of r; a block
// that the end cuts off is dropped, as the standard says. An error is the last
// element. Data may be kept.
func Read(r io.Reader, maxEvent int) iter.Seq2[Event, error] {
	if maxEvent <= 0 {
		maxEvent = DefaultMaxEvent
	}
	return func(yield func(Event, error) bool) {
		lines := lineReader{r: bufio.NewReaderSize(r, 16<<10)}
		var ev Event
		filled, size := false, 0
		for first := true; ; first = false {
			line, err := lines.next(maxEvent - size)
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(Event{}, err)
				return
			}
			if first {
				line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
			}
			if len(line) == 0 {
				if filled && !yield(ev, nil) {
					return
				}
				ev, filled, size = Event{}, false, 0
				continue
			}
			filled = true
			size += len(line) + 1
			ev.add(line)
		}
	}
}

func (e *Event) add(line []byte) {
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "":
		e.Comment = string(value)
	case "data":
		if e.Data == nil {
			e.Data = append([]byte{}, value...)
		} else {
			e.Data = append(append(e.Data, '\n'), value...)
		}
	case "event":
		e.Name = string(value)
	case "id":
		if bytes.IndexByte(value, 0) < 0 {
			e.ID = string(value)
		}
	}
}

// lineReader reads lines that end with LF, CR or CR LF.
type lineReader struct {
	r      *bufio.Reader
	skipLF bool
	buf    []byte
}

// next returns a line without its end; it is valid until the following call.
func (l *lineReader) next(limit int) ([]byte, error) {
	l.buf = l.buf[:0]
	for {
		b, err := l.r.ReadByte()
		if err != nil {
			return nil, err
		}
		if l.skipLF {
			l.skipLF = false
			if b == '\n' {
				continue
			}
		}
		switch b {
		case '\n':
			return l.buf, nil
		case '\r':
			l.skipLF = true
			return l.buf, nil
		}
		if len(l.buf) >= limit {
			return nil, ErrTooLarge
		}
		l.buf = append(l.buf, b)
	}
}

// Writer writes a stream, flushing after each event. It is safe for concurrent
// use. After the first failed write every other one fails, too.
type Writer struct {
	w  http.ResponseWriter
	rc *http.ResponseController

	mu  sync.Mutex // guards the rest
	err error
}

// NewWriter begins a stream on w: status 200 and the headers of an event
// stream, with buffering in proxies switched off.
func NewWriter(w http.ResponseWriter) *Writer {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	s := &Writer{w: w, rc: http.NewResponseController(w)}
	_ = s.rc.Flush()
	return s
}

// Data writes an event with data and no name. Data with line ends is written
// as several data lines.
func (s *Writer) Data(data []byte) error {
	var b bytes.Buffer
	b.Grow(len(data) + 16)
	for line := range bytes.Lines(append(bytes.TrimRight(data, "\r\n"), '\n')) {
		b.WriteString("data: ")
		b.Write(bytes.TrimRight(line, "\r\n"))
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return s.Raw(b.Bytes())
}

// Comment writes a comment, which readers skip: a sign of life.
func (s *Writer) Comment(text string) error {
	return s.Raw(fmt.Appendf(nil, ": %s\n\n", text))
}

// Raw writes a block as it is.
func (s *Writer) Raw(block []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	// A reader that takes nothing must not hold the writer for ever. Not all
	// ResponseWriters have deadlines; those without are left alone.
	_ = s.rc.SetWriteDeadline(time.Now().Add(30 * time.Second))
	if _, s.err = s.w.Write(block); s.err == nil {
		s.err = s.rc.Flush()
	}
	return s.err
}

// Beat writes a comment from time to time, so that nobody on the way takes a
// quiet stream for a dead one, until ctx ends or stop is called. After stop has
// returned nothing more is written.
func (s *Writer) Beat(ctx context.Context, every time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				if s.Comment("heartbeat") != nil {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-done }
}
