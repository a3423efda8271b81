package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
)

func TestSudo(t *testing.T) {
	for _, c := range []struct {
		args   []string
		stdout string
		code   int
	}{
		{[]string{"echo", "-n", "x"}, "x", 0},
		{[]string{"-E", "printenv", "KEPT"}, "yes\n", 0},
		{[]string{"A=b c", "-E", "B=d", "-n", "--", "sh", "-c", "echo $A $B"}, "b c d\n", 0},
		{[]string{"A=b", "--", "A=c", "echo"}, "", 127},
		{[]string{"-EHn", "-u", "root", "A=b c", "printenv", "A"}, "b c\n", 0},
		{[]string{"-E", "-H", "-n", "-u", "root", "--", "printenv", "HOME"}, "/root\n", 0},
		{[]string{"--preserve-env=X,Y", "--user=root", "printenv", "USER"}, "root\n", 0},
		{[]string{"-H", "printenv", "HOME"}, "/root\n", 0},
		{[]string{"printenv", "HOME"}, "/home/me\n", 0},
		{[]string{"sh", "-c", "exit 7"}, "", 7},
		{[]string{"sh", "-c", "kill -9 $$"}, "", 137},
		{[]string{"-u", "nobody", "id", "-un"}, "nobody\n", 0},
		{[]string{"-u", "#65534", "id", "-u"}, "65534\n", 0},
		{[]string{"-s", "echo $KEPT"}, "yes\n", 0},
		{[]string{"-D", "/tmp", "pwd"}, "/tmp\n", 0},
		{[]string{"no-such-program-here"}, "", 127},
		{[]string{"-u", "no-such-user-here", "true"}, "", 1},
		{[]string{"-v"}, "", 0},
		{[]string{"-n", "-l"}, "", 0},
		{nil, "", 1},
		{[]string{"--no-such-option", "true"}, "", 1},
	} {
		if os.Geteuid() != 0 && strings.Contains(strings.Join(c.args, " "), "-u") {
			continue // nobody else may become another
		}
		var out, complaint bytes.Buffer
		env := append(os.Environ(), "KEPT=yes", "HOME=/home/me")
		code := sudoMain(context.Background(), c.args, env, strings.NewReader(""), &out, &complaint)
		if code != c.code || out.String() != c.stdout {
			t.Errorf("sudo %q: code %d, %q, %q; want %d, %q", c.args, code, out.String(), complaint.String(), c.code, c.stdout)
		}
	}
}
