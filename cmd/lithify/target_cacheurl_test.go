package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fileServer serves one text as of a time, and counts.
type fileServer struct {
	text     string
	made     time.Time
	answers  []int // codes to give first
	requests []*http.Request
}

func (s *fileServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests = append(s.requests, r)
	if len(s.answers) > 0 {
		code := s.answers[0]
		s.answers = s.answers[1:]
		w.WriteHeader(code)
		return
	}
	if r.URL.Path == "/moved" {
		http.Redirect(w, r, "/file", http.StatusFound)
		return
	}
	w.Header().Set("Last-Modified", s.made.UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Encoding", "gzip") // what is stored is what is sent
	if since, err := http.ParseTime(r.Header.Get("If-Modified-Since")); err == nil && !s.made.After(since) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	io.WriteString(w, s.text)
}

func TestCacheURL(t *testing.T) {
	swap(t, &downloadPause, time.Millisecond)
	s := &fileServer{text: "one", made: time.Unix(1600000000, 0)}
	server := httptest.NewServer(s)
	defer server.Close()
	file := filepath.Join(t.TempDir(), "deep", "file")
	get := func(code int, want string, made int64, args ...string) {
		t.Helper()
		got, _, complaint := call(t, nil, "cache-url", append(args, file)...)
		data, _ := os.ReadFile(file)
		info, err := os.Stat(file)
		if got != code || string(data) != want || err == nil && info.ModTime().Unix() != made {
			t.Errorf("%v: code %d, %q: %s", args, got, data, complaint)
		}
	}
	get(1, "", 0, server.URL+"/file", server.URL) // three words
	s.answers = []int{404}
	get(cacheURLMissing, "", 0, server.URL+"/file")
	get(0, "one", 1600000000, server.URL+"/moved")
	s.text = "changed behind its time"
	get(0, "one", 1600000000, server.URL+"/file")
	s.made = s.made.Add(time.Hour)
	s.answers = []int{503, 500}
	get(0, "changed behind its time", 1600003600, server.URL+"/file")
	s.text, s.made = "", s.made.Add(time.Hour)
	get(0, "changed behind its time", 1600003600, server.URL+"/file")
	s.answers = []int{403}
	get(1, "changed behind its time", 1600003600, server.URL+"/file")
	s.answers = []int{500, 500, 500, 500}
	get(1, "changed behind its time", 1600003600, server.URL+"/file")
	get(0, "changed behind its time", 1600003600, "-f", server.URL+"/file")
	if last := s.requests[len(s.requests)-1]; last.Header.Get("Cache-Control") != "no-cache" || last.Header.Get("If-Modified-Since") == "" {
		t.Errorf("-f sends %v", last.Header)
	}
	if left, _ := filepath.Glob(filepath.Dir(file) + "/.*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestCacheURLOfFiles(t *testing.T) {
	dir := put(t, map[string]string{"from": "text"})
	must(t, os.Chtimes(dir+"/from", time.Unix(5, 0), time.Unix(5, 0)))
	for _, c := range []struct {
		address string
		code    int
	}{{"file://" + dir + "/from", 0}, {"file://" + dir + "/from", 0}, {"file://" + dir + "/none", 1}, {"file://" + dir, 1}, {"gopher://x/y", 1}, {"no address", 1}} {
		if code, _, complaint := call(t, nil, "cache-url", c.address, dir+"/to"); code != c.code {
			t.Errorf("%s: code %d: %s", c.address, code, complaint)
		}
	}
	if info, err := os.Stat(dir + "/to"); err != nil || info.ModTime().Unix() != 5 || info.Size() != 4 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestCacheURLIntoAFifo(t *testing.T) {
	server := httptest.NewServer(&fileServer{text: "poured", made: time.Unix(1, 0)})
	defer server.Close()
	fifo := filepath.Join(t.TempDir(), "fifo")
	must(t, unix.Mkfifo(fifo, 0o600))
	read := make(chan string)
	go func() {
		data, _ := os.ReadFile(fifo)
		read <- string(data)
	}()
	if code, _, complaint := call(t, nil, "cache-url", server.URL, fifo); code != 0 {
		t.Errorf("code %d: %s", code, complaint)
		return
	}
	if got := <-read; got != "poured" {
		t.Errorf("%q", got)
	}
	if info, err := os.Lstat(fifo); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		t.Error("the fifo is gone")
	}
}
