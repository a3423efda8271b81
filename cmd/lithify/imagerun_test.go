package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fakeCreate is a program that stands for disk-image-create: it runs the script
// that the element's name is.
func fakeCreate(t *testing.T, script string) string {
	t.Helper()
	return filepath.Join(put(t, map[string]string{"create": "#!/bin/bash\n" + script}), "create")
}

func imagesFrom(t *testing.T, text string) []imageEntry {
	t.Helper()
	images, err := parseImages([]imageText{{"list", []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	return images
}

// TestImageJobs: what several images print at once is told apart, line by line,
// and each gets its arguments and environment.
func TestImageJobs(t *testing.T) {
	var out, complaint bytes.Buffer
	r := imageRun{self: fakeCreate(t, "for i in 1 2 3; do printf \"$A $2 \"; echo $i; sleep 0.02; done; printf 'no end' >&2"), stdout: &out, stderr: &complaint,
		env: append(os.Environ(), "A=theirs"), jobs: 2}
	err := r.run(context.Background(), imagesFrom(t, "- imagename: one\n  environment: {A: mine}\n- imagename: two\n- imagename: three\n"))
	if err != nil {
		t.Fatal(err)
	}
	for name, a := range map[string]string{"one": "mine", "two": "theirs", "three": "theirs"} {
		want := ""
		for _, i := range []string{"1", "2", "3"} {
			want += name + " | " + a + " " + name + " " + i + "\n"
		}
		var got string
		for line := range strings.Lines(out.String()) {
			if strings.HasPrefix(line, name+" | ") {
				got += line
			}
		}
		if got != want || !strings.Contains(complaint.String(), name+" | no end\n") {
			t.Errorf("got %q, want %q; stderr %s", got, want, &complaint)
		}
	}
}

func TestImageJobsRunAtOnce(t *testing.T) {
	dir := t.TempDir()
	// Each waits for the other: one after the other they would never end.
	script := "touch " + dir + "/$2; for i in {1..500}; do [ -e " + dir + "/one -a -e " + dir + "/two ] && exit 0; sleep 0.01; done; exit 9"
	r := imageRun{self: fakeCreate(t, script), stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}, env: os.Environ(), jobs: 2}
	if err := r.run(context.Background(), imagesFrom(t, "- imagename: one\n- imagename: two\n")); err != nil {
		t.Error(err)
	}
}

// TestImageStop: a signal reaches the build that runs, and no other one starts.
func TestImageStop(t *testing.T) {
	dir := t.TempDir()
	script := "trap 'echo stopped; exit 143' TERM; touch " + dir + "/$2; for i in {1..500}; do sleep 0.01; done"
	var out bytes.Buffer
	r := imageRun{self: fakeCreate(t, script), stdout: &out, stderr: &bytes.Buffer{}, env: os.Environ(), jobs: 1}
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		for {
			if _, err := os.Stat(dir + "/one"); err == nil {
				cancel(signalError{syscall.SIGTERM})
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	err := r.run(ctx, imagesFrom(t, "- imagename: one\n- imagename: two\n"))
	_, second := os.Stat(dir + "/two")
	if err == nil || out.String() != "stopped\n" || !errors.Is(second, os.ErrNotExist) {
		t.Errorf("%v, %q, %v", err, &out, second)
	}
}

// TestImageStranded: named are the images whose base failed, not those that were
// not begun for another reason.
func TestImageStranded(t *testing.T) {
	const list = "- imagename: low\n- imagename: bad\n- {imagename: late, base: low}\n- {imagename: lost, base: bad}\n- {imagename: further, base: lost}\n"
	const want = "1 of 5 images failed (bad), 2 not begun (lost for want of bad, further for want of lost); the last: "
	for _, stop := range []bool{true, false} {
		var out bytes.Buffer
		r := imageRun{self: fakeCreate(t, "echo $2; [ $2 != bad ]"), stdout: &out, stderr: &bytes.Buffer{}, env: os.Environ(), jobs: 1, stop: stop}
		err := r.run(context.Background(), imagesFrom(t, list))
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(out.String(), "late") == stop {
			t.Errorf("stop %v: built %q, said %v", stop, &out, err)
		}
	}
}
