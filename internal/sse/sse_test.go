// SPDX-License-Identifier: Apache-2.0

package sse

import (
	"bytes"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func readAll(in string, limit int) (events []Event, err error) {
	for ev, e := range Read(strings.NewReader(in), limit) {
		if e != nil {
			return events, e
		}
		events = append(events, ev)
	}
	return events, nil
}

func TestRead(t *testing.T) {
	tests := []struct {
		name, in string
		want     []Event
	}{
		{"plain", "data: a\n\n", []Event{{Data: []byte("a")}}},
		{"no blank after the colon", "data:a\n\n", []Event{{Data: []byte("a")}}},
		{"several lines", "data: a\ndata: b\n\n", []Event{{Data: []byte("a\nb")}}},
		{"CRLF and CR", "data: a\r\n\r\ndata: b\r\r", []Event{{Data: []byte("a")}, {Data: []byte("b")}}},
		{"byte order mark", "\xef\xbb\xbfdata: a\n\n", []Event{{Data: []byte("a")}}},
		{"DashScope", "id:1\nevent:result\n:HTTP_STATUS/200\ndata:{}\n\n", []Event{{ID: "1", Name: "result", Comment: "HTTP_STATUS/200", Data: []byte("{}")}}},
		{"comment", ": ping\n\ndata: a\n\n", []Event{{Comment: "ping"}, {Data: []byte("a")}}},
		{"unknown field", "x: y\ndata\n\n", []Event{{Data: []byte{}}}},
		{"cut off", "data: a\n\ndata: b\n", []Event{{Data: []byte("a")}}},
		{"empty", "\n\n\n", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readAll(tt.in, 0)
			require.NoError(t, err)
			require.Equal(t, tt.want, got)
		})
	}
	long := "data: " + strings.Repeat("x", 1<<20) + "\n\n"
	got, err := readAll(long, 0)
	require.NoError(t, err)
	require.Len(t, got[0].Data, 1<<20)
	_, err = readAll(long, 1000)
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = readAll(strings.Repeat("data: x\n", 1000), 1000)
	require.ErrorIs(t, err, ErrTooLarge)
}

func TestWriterReads(t *testing.T) {
	rec := httptest.NewRecorder()
	w := NewWriter(rec)
	require.NoError(t, w.Data([]byte("one\ntwo\n")))
	require.NoError(t, w.Comment("ping"))
	require.NoError(t, w.Data([]byte(`{"a":1}`)))
	require.Equal(t, "data: one\ndata: two\n\n: ping\n\ndata: {\"a\":1}\n\n", rec.Body.String())
	require.True(t, rec.Flushed)
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("data: a\r\n\r\n: c\n\nevent: e\ndata\n\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		for ev, err := range Read(bytes.NewReader(in), 1<<10) {
			if err == nil && len(ev.Data) > 1<<10 {
				t.Fatal("above the limit")
			}
		}
	})
}

func TestBeat(t *testing.T) {
	rec := httptest.NewRecorder()
	w := NewWriter(rec)
	stop := w.Beat(t.Context(), time.Millisecond)
	time.Sleep(20 * time.Millisecond)
	require.NoError(t, w.Data([]byte("x")))
	stop()
	text := rec.Body.String()
	require.Contains(t, text, ": heartbeat\n\n")
	require.Contains(t, text, "data: x\n\n")
	time.Sleep(5 * time.Millisecond)
	require.Equal(t, text, rec.Body.String(), "nothing is written after stop")
}
