package boottest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
)

// console gathers what the guest writes to its serial port.
type console struct {
	input io.Writer

	mu     sync.Mutex
	seen   []byte        // without control characters: a BIOS moves the cursor in the middle of a word
	cut    []byte        // the begin of a sequence of them, which the next Write ends
	next   int           // where the next WaitFor begins
	more   chan struct{} // closed and renewed when seen grows
	closed bool
}

func newConsole() *console { return &console{more: make(chan struct{})} }

// Write is for QEMU's output only.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := append(c.cut, p...)
	end := len(text)
	if at := unfinished.FindIndex(text); at != nil {
		end = at[0]
	}
	c.seen = append(c.seen, control.ReplaceAll(text[:end], nil)...)
	c.cut = bytes.Clone(text[end:])
	close(c.more)
	c.more = make(chan struct{})
	return len(p), nil
}

// close says that nothing will come any more.
func (c *console) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	close(c.more)
	c.more = make(chan struct{})
}

// match looks for re in what has not been passed yet, and passes it when found.
func (c *console) match(re *regexp.Regexp) (found []string, closed bool, more <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	rest := c.seen[c.next:]
	at := re.FindSubmatchIndex(rest)
	if at == nil {
		return nil, c.closed, c.more
	}
	for i := 0; i < len(at); i += 2 {
		group := ""
		if at[i] >= 0 {
			group = string(rest[at[i]:at[i+1]])
		}
		found = append(found, group)
	}
	c.next += at[1]
	return found, c.closed, c.more
}

var (
	control    = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z=]|\x1b[()=>c78][0-9AB]?|[\x00-\x08\x0b-\x1f]`)
	unfinished = regexp.MustCompile(`\x1b(\[[0-9;?]*|[()])?$`)
)

func (c *console) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.seen)
}

// tail is the end of the log, for errors.
func (c *console) tail() string {
	lines := strings.Split(strings.TrimRight(c.text(), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// forget passes everything that the console has shown: a login prompt printed
// once more must not be taken for the next boot's.
func (vm *VM) forget() {
	vm.console.mu.Lock()
	defer vm.console.mu.Unlock()
	vm.console.next = len(vm.console.seen)
}

// WaitFor waits until re matches what the console showed since the last match,
// gives match and groups, and goes on behind it. Its error holds the log's end.
func (vm *VM) WaitFor(ctx context.Context, re *regexp.Regexp, limit time.Duration) ([]string, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		found, closed, more := vm.console.match(re)
		if found != nil {
			return found, nil
		}
		why := ""
		if closed {
			why = vm.gone().Error()
		} else {
			select {
			case <-more:
				continue
			case <-timer.C:
				why = fmt.Sprintf("not seen within %s", limit)
			case <-ctx.Done():
				why = ctx.Err().Error()
			}
		}
		return nil, fmt.Errorf("waiting for %q on the console: %s; its last lines:\n%s", re, why, vm.console.tail())
	}
}

// SendLine types a line on the serial console.
func (vm *VM) SendLine(line string) error {
	if _, err := io.WriteString(vm.console.input, line+"\n"); err != nil {
		return fmt.Errorf("typing on the console: %w", err)
	}
	return nil
}

// prompts ends a boot, well or badly; the last groups are dead ends.
var prompts = regexp.MustCompile(`[\w.-]+ login: |(Kernel panic|\(initramfs\)|grub rescue>|grub> |Shell> |No bootable device|You are in emergency mode|Entering emergency mode)`)

// WaitBoot waits for the next login prompt. It does not wait on when the guest
// shows that there will be none: a panic, GRUB's or the initramfs's shell.
func (vm *VM) WaitBoot(ctx context.Context, limit time.Duration) error {
	found, err := vm.WaitFor(ctx, prompts, limit)
	if err != nil {
		return fmt.Errorf("booting %q: %w", vm.options.Image, err)
	}
	if found[1] != "" {
		return fmt.Errorf("booting %q: the guest stopped at %q; its last lines:\n%s", vm.options.Image, found[1], vm.console.tail())
	}
	return nil
}

// stepLimit is for what a live guest answers at once, even when emulated on a busy machine.
const stepLimit = 2 * time.Minute

// shellPrompt ends a login, in a shell or in a refusal.
var shellPrompt = regexp.MustCompile(`(Login incorrect)|[#$] $`)

// errLogin is the error for a match of shellPrompt that holds a refusal.
func errLogin(found []string) error {
	if found == nil {
		return nil
	}
	return errors.New(found[1])
}

// Login answers a login prompt that [VM.WaitBoot] has seen, and readies the shell for [VM.Run].
func (vm *VM) Login(ctx context.Context, user, password string) error {
	if err := vm.SendLine(user); err != nil {
		return err
	}
	if password != "" {
		if _, err := vm.WaitFor(ctx, regexp.MustCompile(`assword: `), stepLimit); err != nil {
			return fmt.Errorf("logging in as %q: %w", user, err)
		}
		if err := vm.SendLine(password); err != nil {
			return err
		}
	}
	// What is typed before the shell's prompt is thrown away by login.
	found, err := vm.WaitFor(ctx, shellPrompt, stepLimit)
	if err != nil || found[1] != "" {
		return fmt.Errorf("logging in as %q: %w", user, errors.Join(err, errLogin(found)))
	}
	// A plain sh has no line editor, which would write escapes into the output.
	if err := vm.SendLine(`exec sh -c 'stty -echo; PS1= PS2= ENV= TERM=dumb exec sh -i'`); err != nil {
		return err
	}
	if _, err := vm.Run(ctx, "true", stepLimit); err != nil {
		return fmt.Errorf("logging in as %q: %w", user, err)
	}
	return nil
}

// Run runs a command line in the shell that [VM.Login] opened; both of the
// command's outputs come as Stdout. A non-zero exit code is no error.
func (vm *VM) Run(ctx context.Context, command string, limit time.Duration) (Result, error) {
	vm.shells++
	// The quotes keep the marks from being found in an echo of the line itself.
	line := fmt.Sprintf("echo 'begin'-%d; {\n%s\n} </dev/null 2>&1; echo 'end'-%d-$?-", vm.shells, command, vm.shells)
	if err := vm.SendLine(line); err != nil {
		return Result{}, err
	}
	re := regexp.MustCompile(fmt.Sprintf(`(?s)begin-%d\n(.*?)end-%d-(\d+)-`, vm.shells, vm.shells))
	found, err := vm.WaitFor(ctx, re, limit)
	if err != nil {
		return Result{}, fmt.Errorf("running %q: %w", command, err)
	}
	result := Result{Stdout: found[1]}
	_, err = fmt.Sscan(found[2], &result.Exit)
	return result, err
}
