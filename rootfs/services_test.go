package rootfs_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lithify/lithify/rootfs"
)

// TestAnswerForOneHook: a cache-key.d hook below a phase's name answers for the
// hook of its name: what is before that is not made again.
func TestAnswerForOneHook(t *testing.T) {
	w := newWorld(t)
	at := filepath.Join(w.cache, "remote")
	w.env["REMOTE"] = at
	w.write("app/extra-data.d/50-fetch", "#!/bin/sh\ncp \"$REMOTE\" \"$TMP_MOUNT_PATH/fetched\"\n", 0o755)
	w.write("app/cache-key.d/extra-data.d/50-fetch", "#!/bin/sh\ncat \"$REMOTE\"\n", 0o755)
	remote := func(text string) {
		t.Helper()
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	remote("one")
	first := w.must(nil)
	if again := w.must(nil); again.ran != 0 || again.intent != first.intent {
		t.Errorf("nothing has changed, yet %v ran", again.events)
	}
	remote("two")
	b := w.must(nil)
	if slices.Contains(b.events, "root/10-tiny") || !slices.Contains(b.events, "extra-data/50-fetch") || b.intent == first.intent || b.tree == first.tree {
		t.Errorf("after a change %v ran", b.events)
	}
	remote("one")
	if back := w.must(func(o *rootfs.Options) { o.Offline = true }); back.ran != 0 || back.tree != first.tree {
		t.Errorf("back again, %v ran", back.events)
	}
	if b := w.must(fresh); b.tree != first.tree {
		t.Error("kept layers give another tree than fresh ones")
	}
	w.write("app/cache-key.d/install.d/99-nowhere", "#!/bin/sh\n", 0o755)
	if _, err := w.build(context.Background(), nil); err == nil || !strings.Contains(err.Error(), `the hook "install.d/99-nowhere", which is not there`) {
		t.Errorf("an answer for no hook: %v", err)
	}
}

// TestPathOfEnvironment: what environment.d adds to PATH is there in both
// places, and the caller's own PATH is no part of a key.
func TestPathOfEnvironment(t *testing.T) {
	w := newWorld(t)
	w.write("app/environment.d/10-path", "export PATH=/first:$PATH:/last\n", 0o644)
	w.write("app/install.d/20-path", "#!/bin/sh\ncase \"$PATH\" in /first:*/bin:*:/last) ;; *) echo \"$PATH\"; exit 1 ;; esac\n", 0o755)
	w.write("app/post-root.d/20-path", "#!/bin/sh\ncase \"$PATH\" in /first:*/bin:*:/last) ;; *) echo \"$PATH\"; exit 1 ;; esac\n", 0o755)
	first := w.must(nil)
	w.env["PATH"] += ":/somebody/elses"
	if b := w.must(nil); b.key != first.key {
		t.Error("the caller's PATH is part of a key")
	}
	w.write("app/environment.d/10-path", "export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/other\n", 0o644)
	if _, err := w.build(context.Background(), nil); err == nil || !strings.Contains(w.out.String(), "/dev/lithify/bin:/usr/sbin:/usr/bin:/sbin:/bin:/other\n") {
		t.Errorf("another PATH in environment.d: %v: %s", err, w.out)
	}
}

// TestEnvironmentThatFails: the mistake names the file and its element, and has
// the file's words alone, not what the trace of another one looks like.
func TestEnvironmentThatFails(t *testing.T) {
	w := newWorld(t)
	w.write("app/environment.d/10-long", "export DIB_LONG='one;\ntwo;\nthree'\n", 0o644)
	for text, want := range map[string]string{
		"echo no such distribution\nexit 3\n":  `3: no such distribution`,
		"export DIB_X=${DIB_Y:?must be set}\n": `DIB_Y: must be set`,
	} {
		w.write("app/environment.d/90-bad", text, 0o644)
		_, err := w.build(context.Background(), nil)
		if err == nil || !strings.HasPrefix(err.Error(), `element 'app', environment.d/90-bad: exit code `) ||
			!strings.HasSuffix(err.Error(), want) || strings.Contains(err.Error(), "two") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestResolvConfOfHooks: what a hook writes there is there for later ones, also
// when the build resumes, and what was there comes back.
func TestResolvConfOfHooks(t *testing.T) {
	w := newWorld(t)
	w.write("app/install.d/20-resolv", "#!/bin/sh\nset -e\ncat /etc/resolv.conf > /before\necho changed >> /etc/resolv.conf\n", 0o755)
	w.write("app/post-install.d/20-resolv", "#!/bin/sh\ncat /etc/resolv.conf > /after\nexit 1\n", 0o755)
	if _, err := w.build(context.Background(), nil); err == nil {
		t.Fatal("exit 1 is no success")
	}
	w.write("app/post-install.d/20-resolv", "#!/bin/sh\ncat /etc/resolv.conf > /after\n", 0o755)
	w.write("app/finalise.d/95-say", "#!/bin/sh\nset -e\ncat /before /after\n", 0o755)
	w.must(nil)
	if want := "nameserver 192.0.2.9\nnameserver 192.0.2.9\nchanged\n"; !strings.Contains(w.out.String(), want) {
		t.Errorf("%q", w.out)
	}
}
