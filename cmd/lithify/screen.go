package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// plainScreen is for everything that is no terminal: one line for each event,
// with its time in front unless bare.
type plainScreen struct {
	w    io.Writer
	now  func() time.Time
	bare bool
}

func (s plainScreen) line(text string) {
	if s.bare {
		io.WriteString(s.w, text+"\n")
		return
	}
	stamped(s.w, s.now(), text)
}

func (s plainScreen) begin(_, text string)          { s.line(text) }
func (s plainScreen) progress(string, int64, int64) {}
func (s plainScreen) end(_, text string)            { s.line(text) }
func (s plainScreen) close()                        {}

// liveScreen is for terminals: finished lines scroll up, and below them one
// line lives for each thing that runs.
type liveScreen struct {
	now   func() time.Time
	bars  *mpb.Progress
	lines map[string]*liveLine
}

type liveLine struct {
	bar   *mpb.Bar
	total int64
}

func newLiveScreen(terminal *os.File, now func() time.Time) *liveScreen {
	return &liveScreen{
		now:   now,
		bars:  mpb.New(mpb.WithOutput(terminal), mpb.WithAutoRefresh(), mpb.WithRefreshRate(200*time.Millisecond)),
		lines: map[string]*liveLine{},
	}
}

func (s *liveScreen) line(text string) { io.WriteString(s.bars, text+"\n") }

func (s *liveScreen) begin(key, text string) {
	start := s.now()
	s.lines[key] = &liveLine{bar: s.bars.New(0, mpb.NopStyle(), mpb.BarFillerTrim(),
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string {
			return fmt.Sprintf("%s  %s", text, shortDuration(s.now().Sub(start)))
		})))}
}

// progress turns the line of the key into a bar, and makes one where there was
// none.
func (s *liveScreen) progress(key string, done, total int64) {
	l := s.lines[key]
	if l == nil || l.total != total {
		s.drop(key)
		l = &liveLine{total: total, bar: s.bars.AddBar(max(total, 1),
			mpb.PrependDecorators(decor.Name(key+"  "), decor.Percentage()),
			mpb.BarRemoveOnComplete())}
		s.lines[key] = l
	}
	l.bar.SetCurrent(done)
	if done >= total {
		s.drop(key)
	}
}

func (s *liveScreen) end(key, text string) {
	s.drop(key)
	s.line(text)
}

func (s *liveScreen) drop(key string) {
	if l := s.lines[key]; l != nil {
		l.bar.Abort(true)
		l.bar.Wait()
		delete(s.lines, key)
	}
}

func (s *liveScreen) close() {
	for key := range s.lines {
		s.drop(key)
	}
	s.bars.Shutdown()
}
