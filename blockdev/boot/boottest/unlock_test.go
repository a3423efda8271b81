package boottest

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"
	"time"
)

// askedBy is a machine whose guest asks on its console until it is told the secret.
func askedBy(t *testing.T, by, no, secret string, tries int) *VM {
	t.Helper()
	keyboard, typed := io.Pipe()
	vm := &VM{console: newConsole(), exited: make(chan struct{})}
	vm.console.input = typed
	say := func(text string) { _, _ = vm.console.Write([]byte(text)) }
	go func() {
		lines := bufio.NewScanner(keyboard)
		for range tries {
			say("\r\n" + by)
			if !lines.Scan() {
				return
			}
			if lines.Text() == secret {
				say("\r\ntiny login: ")
				return
			}
			say("\r\n" + no)
		}
		say("\r\n(initramfs) ")
	}()
	t.Cleanup(func() { typed.Close() })
	return vm
}

// TestUnlock: the words are those of Debian 12's GRUB and initramfs.
func TestUnlock(t *testing.T) {
	for _, c := range []struct {
		name, by, no string
		asker        Asker
	}{
		{"GRUB", "Enter passphrase for hd0,gpt2 (01\x1b[06;55H\x1b[06;56H23abcd): ", "error: access denied.", ByGRUB},
		{"initramfs", "Please unlock disk crypt: ", "cryptsetup: ERROR: crypt: cryptsetup failed, bad password or options?", ByInitramfs},
	} {
		for _, d := range []struct {
			what, by, secret string
			tries            int
			unlock           Unlock
			want             string // of the error; "" means none
		}{
			{"right", c.by, "yes", 3, Unlock{c.asker, "yes", ""}, ""},
			{"first wrong", c.by, "yes", 3, Unlock{c.asker, "yes", "no"}, ""},
			{"the wrong one opens it", c.by, "no", 3, Unlock{c.asker, "yes", "no"}, "login prompt came first"},
			{"gives up", c.by, "yes", 1, Unlock{c.asker, "yes", "no"}, `stopped at "(initramfs)"`},
			{"never asks", "tiny login: ", "yes", 3, Unlock{c.asker, "yes", ""}, "login prompt came first"},
		} {
			vm := askedBy(t, d.by, c.no, d.secret, d.tries)
			err := vm.Unlock(context.Background(), d.unlock, time.Minute)
			if err == nil {
				err = vm.WaitBoot(context.Background(), time.Minute)
			}
			if (err == nil) != (d.want == "") || err != nil && !strings.Contains(err.Error(), d.want) {
				t.Errorf("%s, %s: %v; want %q", c.name, d.what, err, d.want)
			}
		}
	}
}

// TestConsoleCutsControls: wherever QEMU's output is cut into pieces.
func TestConsoleCutsControls(t *testing.T) {
	const sent, want = "\x1bc\x1b[?7l\x1b[0;30;47mWel\x1b[06;5Hcome\x1b(B to\r\nGRUB\x1b=!\x07", "Welcome to\nGRUB!"
	for cut := range len(sent) + 1 {
		c := newConsole()
		for _, piece := range []string{sent[:cut], sent[cut:]} {
			if n, err := c.Write([]byte(piece)); n != len(piece) || err != nil {
				t.Fatal(n, err)
			}
		}
		if got := c.text(); got != want {
			t.Errorf("cut at %d: %q", cut, got)
		}
	}
}
