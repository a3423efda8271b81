package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// ui is what a build says to people. Everything goes into the log, each line
// with its time; what else is shown depends on the screen. All methods are safe
// for concurrent use.
//
// Not a word of the environment is ever written: it may hold secrets.
type ui struct {
	now    func() time.Time
	stderr io.Writer
	screen screen
	showIt bool // hook output goes to the screen too
	debug  bool // what libraries say at level debug goes into the log

	mu      sync.Mutex
	log     *os.File
	tail    lastLines
	writers []*lineWriter
	stages  []StageTime
	reused  int // steps reused since the last one that ran
	counts  struct{ reused, ran int }
}

// screen is where the user looks. Its methods are called one at a time.
type screen interface {
	// line shows one finished line.
	line(text string)
	// begin shows that something runs, under a key of the caller's.
	begin(key, text string)
	// progress shows how far the writing of something is, in bytes.
	progress(key string, done, total int64)
	// end takes it away; text is the finished line that stays.
	end(key, text string)
	close()
}

// StageTime is how long a stage took.
type StageTime struct {
	Name string
	Took time.Duration
}

// newUI opens the log and chooses the screen. It says where the log is.
func newUI(o Options, stdout, stderr io.Writer) (*ui, error) {
	log, err := openLog(o, time.Now())
	if err != nil {
		return nil, err
	}
	u := &ui{now: time.Now, stderr: stderr, log: log, debug: o.Trace > 0}
	u.screen, u.showIt = newScreen(o, stdout, u.now)
	if o.Environment["DIB_QUIET"] != "1" {
		fmt.Fprintf(stdout, "log: %s\n", u.LogPath())
	}
	for _, w := range o.Warnings {
		u.Warn(w)
	}
	return u, nil
}

// newScreen returns the screen and whether hook output is shown on it: always
// on a plain one, as in DIB; with -x on a live one.
func newScreen(o Options, stdout io.Writer, now func() time.Time) (screen, bool) {
	if o.Quiet {
		return plainScreen{w: io.Discard, now: now}, false
	}
	if f, ok := stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) && o.Environment["TERM"] != "dumb" && o.Environment["break"] == "" {
		return newLiveScreen(f, now), o.Trace > 0
	}
	return plainScreen{w: stdout, now: now, bare: o.NoTimestamp}, true
}

// LogPath is the file that holds the whole log.
func (u *ui) LogPath() string { return u.log.Name() }

// Stage says that a stage begins. The returned function says that it ended.
func (u *ui) Stage(name string) func(err error) {
	start := u.now()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.record("== " + name)
	u.screen.begin(name, "== "+name)
	return func(err error) { u.endStage(name, start, err) }
}

func (u *ui) endStage(name string, start time.Time, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	took := u.now().Sub(start)
	u.stages = append(u.stages, StageTime{name, took})
	u.sayReused()
	text := fmt.Sprintf("== %s: %s", name, shortDuration(took))
	if err != nil {
		text = fmt.Sprintf("== %s: stopped after %s", name, shortDuration(took))
	}
	u.record(text)
	u.screen.end(name, text)
}

// Hook says that a step begins, or, when it is reused, that it need not run.
// The returned function says that it ended. Steps that are reused get one line
// together.
func (u *ui) Hook(phase, element, name string, reused bool) func(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if reused {
		u.reused++
		u.counts.reused++
		return func(error) {}
	}
	u.sayReused()
	u.counts.ran++
	u.tail = lastLines{} // what others wrote does not tell why this one fails
	step := stepName(phase, element, name)
	start := u.now()
	u.record("-- " + step)
	u.screen.begin("hook "+step, "-- "+step)
	return func(err error) { u.endHook(step, start, err) }
}

func (u *ui) endHook(step string, start time.Time, err error) {
	u.flush()
	u.mu.Lock()
	defer u.mu.Unlock()
	how := "in"
	if err != nil {
		how = "failed after"
	}
	text := fmt.Sprintf("-- %s: %s %s", step, how, shortDuration(u.now().Sub(start)))
	u.record(text)
	u.screen.end("hook "+step, text)
}

func stepName(phase, element, name string) string {
	if element == "" {
		return phase + "/" + name
	}
	return fmt.Sprintf("%s/%s (%s)", phase, name, element)
}

// sayReused writes the count of steps reused since the last one that ran.
func (u *ui) sayReused() {
	if u.reused == 0 {
		return
	}
	text := fmt.Sprintf("-- %s reused", count(u.reused, "step"))
	u.reused = 0
	u.record(text)
	u.screen.line(text)
}

// Steps is how many steps were reused and how many ran, so far.
func (u *ui) Steps() (reused, ran int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.counts.reused, u.counts.ran
}

// Log returns a writer for the output of hooks and tools. What is written is
// cut into lines; writers that come from separate calls do not mix in a line.
func (u *ui) Log() io.Writer {
	return u.newWriter(func(line string) {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.tail.add(line)
		u.record(line)
		if u.showIt {
			u.screen.line(line)
		}
	})
}

// logOnly is a writer to the log that the screen does not show.
func (u *ui) logOnly() io.Writer {
	return u.newWriter(func(line string) {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.record(line)
	})
}

func (u *ui) newWriter(emit func(string)) *lineWriter {
	w := &lineWriter{emit: emit}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.writers = append(u.writers, w)
	return w
}

// flush ends lines that nobody ended.
func (u *ui) flush() {
	u.mu.Lock()
	writers := append([]*lineWriter(nil), u.writers...)
	u.mu.Unlock()
	for _, w := range writers {
		w.flush()
	}
}

// Logger is for packages that are silent but for their logger. Its lines go to
// the log; those of level debug only when -x was given.
func (u *ui) Logger() *slog.Logger {
	level := slog.LevelInfo
	if u.debug {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(u.logOnly(), &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey && len(groups) == 0 {
				return slog.Attr{} // each line of the log has its time already
			}
			return a
		},
	}))
}

// Tail returns the newest n lines of hook output, at most 100.
func (u *ui) Tail(n int) []string {
	u.flush()
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.tail.last(n)
}

// Live says whether somebody sees Progress.
func (u *ui) Live() bool {
	_, live := u.screen.(*liveScreen)
	return live
}

// Progress says how much of an output is written, in bytes.
func (u *ui) Progress(name string, done, total int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.screen.progress(name, done, total)
}

// Warn says something that the user should know though the build goes on.
func (u *ui) Warn(msg string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.record("warning: " + msg)
	if live, ok := u.screen.(*liveScreen); ok {
		live.line("warning: " + msg)
		return
	}
	fmt.Fprintln(u.stderr, "warning: "+msg)
}

// record writes one line to the log. A log that cannot be written (its disk is
// full) does not end a build; what fills the disk will.
func (u *ui) record(line string) { stamped(u.log, u.now(), line) }

// Close ends all lines and lets the screen go. The log stays open for the last
// words; the end of the process closes it.
func (u *ui) Close() {
	u.flush()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.screen.close()
}
