package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// callProgram runs a program of this binary; DIR in words stands for dir.
func callProgram(t *testing.T, env []string, dir, name, words string) (code int, stdout, stderr string) {
	t.Helper()
	p, ok := programNamed(name)
	if !ok {
		t.Fatalf("no program %q", name)
	}
	args := strings.Fields(strings.ReplaceAll(words, "DIR", dir))
	var out, complaint bytes.Buffer
	code = p(context.Background(), args, env, strings.NewReader(""), &out, &complaint)
	return code, strings.ReplaceAll(out.String(), dir, "DIR"), strings.ReplaceAll(complaint.String(), dir, "DIR")
}

// phases are folders of scripts, one for each rule of the contract.
var phases = map[string]string{
	"order/x.d/10-b":          "#!/bin/sh\necho 10-b\n",
	"order/x.d/9-a":           "#!/bin/sh\necho 9-a\n",
	"order/x.d/plain":         "#!/bin/sh\necho plain\n",
	"order/x.d/010-zero":      "#!/bin/sh\necho 010-zero\n",
	"order/x.d/_low":          "echo by bash, $0\n",
	"order/x.d/foo.service":   "#!/bin/sh\necho never\n",
	"order/x.d/20-x~":         "#!/bin/sh\necho never\n",
	"order/x.d/dir/10-b":      "#!/bin/sh\necho never\n",
	"fails/x.d/10-ok":         "#!/bin/sh\necho ok\n",
	"fails/x.d/20-bad":        "#!/bin/sh\nexit 42\n",
	"fails/x.d/30-never":      "#!/bin/sh\necho never\n",
	"signal/x.d/10-x":         "#!/bin/sh\nkill -9 $$\n",
	"noprogram/x.d/10-x":      "#!/no/such/program\n",
	"env/environment.d/10-a":  "export WHO=a PATH=/env:$PATH\nreturn 0\n",
	"env/environment.d/9-b.x": "export WHO=$WHO-b\nunset GONE\necho said\n",
	"env/environment.d/b~d":   "export WHO=never\n",
	"env/x.d/10-x":            "#!/bin/sh\necho $WHO ${PATH%%:*} ${GONE-gone}\n",
	"errexit/environment.d/1": "false\n",
	"nounset/environment.d/1": "echo $NO_SUCH_NAME\n",
	"pipe/environment.d/1":    "false | true\n",
	"exit/environment.d/1":    "exit 7\n",
	"exit0/environment.d/1":   "exit 0\n",
	"empty/x.d/data.txt":      "",
}

func TestRunParts(t *testing.T) {
	dir := put(t, phases)
	for _, e := range []string{"errexit", "nounset", "pipe", "exit", "exit0"} {
		if err := os.MkdirAll(filepath.Join(dir, e, "x.d"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "order/x.d/15-mode"), []byte("#!/bin/sh\necho never\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"12-link": "../../fails/x.d/10-ok", "13-dangling": "nothing"} {
		if err := os.Symlink(to, filepath.Join(dir, "order/x.d", name)); err != nil {
			t.Fatal(err)
		}
	}
	path := "PATH=" + os.Getenv("PATH")
	order := []string{"_low", "plain", "9-a", "010-zero", "10-b", "12-link"}
	for _, c := range []struct {
		words, env, stdout, says string // says: a regular expression over stderr
		code                     int
	}{
		{"--list DIR/order/x.d", "", "DIR/order/x.d/" + strings.Join(order, "\nDIR/order/x.d/") + "\n", `^$`, 0},
		{"DIR/order/x.d", "", "by bash, DIR/order/x.d/_low\nplain\n9-a\n010-zero\n10-b\nok\n", `(?s)Running .*PROFILING.*Seconds\n.*9-a +\d+\.\d{3}\n`, 0},
		{"DIR/order/x.d", "DIB_DEBUG_TRACE=1", "by bash, DIR/order/x.d/_low\nplain\n9-a\n010-zero\n10-b\nok\n",
			`Skipping DIR/order/x.d/15-mode: not exec(.*\n)*.*Skipping DIR/order/x.d/20-x~: its name`, 0},
		{"--list DIR/order/x.d", "RUN_PARTS_REGEX=service$", "DIR/order/x.d/foo.service\n", `^$`, 0},
		{"DIR/order/x.d", "RUN_PARTS_REGEX=(", "", `RUN_PARTS_REGEX: .*missing closing`, 1},
		{"DIR/fails/x.d", "", "ok\n", `running DIR/fails/x.d/20-bad: exit status 42`, 42},
		{"DIR/signal/x.d", "", "", `killed`, 137},
		{"DIR/noprogram/x.d", "", "", `10-x`, 127},
		{"DIR/env/x.d", "GONE=here", "said\na-b /env gone\n", `Sourcing environment file DIR/env/environment.d/10-a(.*\n)*.*\+ export WHO`, 0},
		{"DIR/errexit/x.d", "", "", `environment.d: exit status 1`, 1},
		{"DIR/nounset/x.d", "", "", `NO_SUCH_NAME: unbound`, 1},
		{"DIR/pipe/x.d", "", "", `environment.d: exit status 1`, 1},
		{"DIR/exit/x.d", "", "", `environment.d: exit status 7`, 7},
		{"DIR/exit0/x.d", "", "", `does a file there call exit`, 1},
		{"DIR/empty/x.d", "", "", `^$`, 0},
		{"--list DIR/empty/x.d", "", "", `^$`, 0},
		{"", "", "", `usage: dib-run-parts`, 1},
		{"DIR/none", "", "", `"DIR/none" is not a directory\nusage`, 1},
		{"DIR/empty/x.d/data.txt", "", "", `not a directory\nusage`, 1},
		{"DIR/empty/x.d extra", "", "", `usage`, 1},
	} {
		code, stdout, stderr := callProgram(t, []string{path, c.env}, dir, "dib-run-parts", c.words)
		if code != c.code || stdout != c.stdout || !regexp.MustCompile(c.says).MatchString(stderr) {
			t.Errorf("dib-run-parts %s (%s): code %d, stdout %q, stderr %q; want %d, %q, %q", c.words, c.env, code, stdout, stderr, c.code, c.stdout, c.says)
		}
		for line := range strings.Lines(stderr) {
			if c.code == 0 && !strings.HasPrefix(line, "dib-run-parts ") && !strings.HasPrefix(line, "+") {
				t.Errorf("dib-run-parts %s: the line %q has no prefix", c.words, line)
			}
		}
	}
}
