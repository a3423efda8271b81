package main

import (
	"os"
	"strings"

	"github.com/lithify/lithify/rootfs"
	"golang.org/x/term"
)

// breaksOf reads where the user wants a shell: the variables break, break_cmd
// and break_outside_target, as in diskimage-builder.
func breaksOf(env map[string]string) rootfs.Breaks {
	b := rootfs.Breaks{Command: env["break_cmd"], Outside: env["break_outside_target"] != ""}
	for name := range strings.SplitSeq(env["break"], ",") {
		if name = strings.TrimSpace(name); name != "" {
			b.At = append(b.At, name)
		}
	}
	if term.IsTerminal(int(os.Stdin.Fd())) {
		b.Terminal = os.Stdin
	}
	return b
}
