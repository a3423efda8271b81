package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	stampLayout = "2006-01-02 15:04:05.000 | " // in UTC
	keptLogs    = 20
	maxLine     = 64 << 10 // longer lines are broken; a progress meter may never end one
)

// openLog opens the whole log of this build: the file the user named, appended
// to, or a fresh one among this user's logs, of which the newest are kept.
func openLog(o Options, now time.Time) (*os.File, error) {
	if o.LogFile != "" {
		f, err := os.OpenFile(o.LogFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, usagef("opening the log: %w", err)
		}
		return f, nil
	}
	dir := filepath.Join(o.cacheDir(), "lithify", "logs")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return os.CreateTemp(o.TmpDir, "lithify-*.log") // a home that cannot be written to is common in CI
	}
	f, err := createLog(dir, filepath.Base(o.Name)+"-"+now.UTC().Format("20060102-150405"))
	if err != nil {
		return os.CreateTemp(o.TmpDir, "lithify-*.log")
	}
	removeOldLogs(dir, keptLogs)
	return f, nil
}

// createLog makes stem.log, for its owner only (hooks may print secrets), or stem-2.log and so on when builds of one name
// start in the same second.
func createLog(dir, stem string) (*os.File, error) {
	name := stem
	for i := 2; ; i++ {
		f, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
		if err == nil || !os.IsExist(err) || i > 1000 {
			return f, err
		}
		name = fmt.Sprintf("%s-%d", stem, i)
	}
}

// removeOldLogs leaves the newest logs. What cannot be removed stays: logs are
// not worth a failed build.
func removeOldLogs(dir string, keep int) {
	type aged struct {
		path string
		at   time.Time
	}
	var logs []aged
	paths, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	for _, path := range paths {
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
			logs = append(logs, aged{path, info.ModTime()})
		}
	}
	slices.SortFunc(logs, func(a, b aged) int { return b.at.Compare(a.at) })
	for i := keep; i < len(logs); i++ {
		os.Remove(logs[i].path)
	}
}

// lineWriter cuts what is written into lines, without their ends, and hands
// each to emit. It is safe for concurrent writers.
type lineWriter struct {
	mu   sync.Mutex
	rest []byte
	emit func(line string)
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, p...)
	for {
		end := bytes.IndexByte(w.rest, '\n')
		if end < 0 {
			break
		}
		w.emit(strings.TrimSuffix(string(w.rest[:end]), "\r"))
		w.rest = w.rest[end+1:]
	}
	for len(w.rest) >= maxLine {
		w.emit(string(w.rest[:maxLine]))
		w.rest = w.rest[maxLine:]
	}
	if len(w.rest) == 0 {
		w.rest = nil // lets the array go that the lines were cut from
	}
	return len(p), nil
}

// flush hands out a last line that had no end.
func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.rest) > 0 {
		w.emit(strings.TrimSuffix(string(w.rest), "\r"))
		w.rest = nil
	}
}

// stamped writes one line with the time in front, in DIB's format.
func stamped(w io.Writer, at time.Time, line string) {
	io.WriteString(w, at.UTC().Format(stampLayout)+line+"\n")
}

// lastLines is a ring of the newest lines.
type lastLines struct {
	lines []string
	next  int
}

const tailLines = 100

func (l *lastLines) add(line string) {
	if len(l.lines) < tailLines {
		l.lines = append(l.lines, line)
		return
	}
	l.lines[l.next] = line
	l.next = (l.next + 1) % tailLines
}

// last returns the newest n lines, oldest first.
func (l *lastLines) last(n int) []string {
	all := append(slices.Clone(l.lines[l.next:]), l.lines[:l.next]...)
	return all[max(0, len(all)-n):]
}
