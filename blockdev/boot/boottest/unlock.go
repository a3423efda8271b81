package boottest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// Asker is a program that asks for a passphrase on the console.
type Asker struct {
	Name    string
	Prompt  string // regular expressions: of its question,
	Refusal string // and of what it says to a wrong answer
}

// The askers of a Debian guest: GRUB, where its files are encrypted, and the
// initramfs, where / is.
var (
	ByGRUB      = Asker{"GRUB", `Enter passphrase for [^\n]*\): `, `Invalid passphrase|access denied`}
	ByInitramfs = Asker{"the initramfs", `Please unlock disk \S+: `, `bad password or options|No key available`}
)

// Unlock is a passphrase that is typed while the guest starts.
type Unlock struct {
	By         Asker
	Passphrase string
	Wrong      string // typed first, and must be refused; "" leaves that out
}

// Unlock waits until the guest asks, and answers. A guest that stops or comes up
// without asking is an error, as is one that takes the wrong passphrase.
func (vm *VM) Unlock(ctx context.Context, u Unlock, limit time.Duration) error {
	if err := vm.awaitPrompt(ctx, u, limit); err != nil {
		return err
	}
	if u.Wrong != "" {
		if err := vm.SendLine(u.Wrong); err != nil {
			return err
		}
		if err := vm.awaitStage(ctx, u.By.Refusal, limit); err != nil {
			return fmt.Errorf("typing a wrong passphrase for %s, which must be refused: %w", u.By.Name, err)
		}
		if err := vm.awaitPrompt(ctx, u, limit); err != nil {
			return err
		}
	}
	return vm.SendLine(u.Passphrase)
}

func (vm *VM) awaitPrompt(ctx context.Context, u Unlock, limit time.Duration) error {
	if err := vm.awaitStage(ctx, u.By.Prompt, limit); err != nil {
		return fmt.Errorf("waiting for %s to ask for a passphrase: %w", u.By.Name, err)
	}
	return nil
}

// awaitStage waits for a text that must come before the login prompt.
func (vm *VM) awaitStage(ctx context.Context, stage string, limit time.Duration) error {
	found, err := vm.WaitFor(ctx, regexp.MustCompile("(?:"+stage+")|"+prompts.String()), limit)
	switch {
	case err != nil:
		return err
	case found[1] != "":
		return fmt.Errorf("the guest stopped at %q; its last lines:\n%s", found[1], vm.console.tail())
	case loginPrompt.MatchString(found[0]):
		return errors.New("the login prompt came first; the last lines:\n" + vm.console.tail())
	}
	return nil
}

var loginPrompt = regexp.MustCompile(`^[\w.-]+ login: $`)
