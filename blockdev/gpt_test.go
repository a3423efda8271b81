package blockdev

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// tableImage writes a table with these partitions onto a disk of 1 GiB, over
// boot code, which is to stay, and returns the image.
func tableImage(t *testing.T, label string, parts ...string) string {
	t.Helper()
	g := mustGraph(t, `[{"local_loop": {"name": "d"}}, {"partitioning": {"base": "d", "label": "`+label+`", "partitions": [`+strings.Join(parts, ",")+`]}}]`)
	g.Identify("x")
	p, err := g.Layout(nil, Request{ImageSize: gib})
	if err != nil {
		t.Fatal(err)
	}
	return diskImage(t, p.Disks[0])
}

// diskImage writes a disk's table.
func diskImage(t *testing.T, d DiskPlan) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "d.raw")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	code := bytes.Repeat([]byte{0xeb}, 440)
	if _, err := f.WriteAt(code, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(d.Size); err != nil {
		t.Fatal(err)
	}
	if err := WriteTable(f, d); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(code))
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, code) {
		t.Errorf("boot code was touched (%v)", err)
	}
	return image
}

func sgdisk(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("sgdisk", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("sgdisk %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// The contract's sequence: what diskimage-builder has sgdisk make of it.
func TestGPT(t *testing.T) {
	need(t, "sgdisk", "sfdisk", "truncate")
	image := tableImage(t, "gpt", `{"name": "ESP", "type": "EF00", "size": "8MiB"}`, `{"name": "BSP", "type": "0xef02", "size": "8MiB"}`,
		`{"name": "Root Part", "type": 8300, "size": "100%", "attributes": ["read-only", 5, "legacy-boot"], "uuid": "6D4C1B8E-3f0a-4c55-9d1b-0a4f5e2c7d11"}`)
	if out := sgdisk(t, "-v", image); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v: %s", out)
	}
	if out, err := exec.Command("sfdisk", "--verify", image).CombinedOutput(); err != nil || !strings.Contains(string(out), "No errors detected") {
		t.Errorf("sfdisk --verify: %v\n%s", err, out)
	}
	theirs := filepath.Join(t.TempDir(), "theirs")
	if out, err := exec.Command("truncate", "-s", "1G", theirs).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	sgdisk(t, "-n", "1:0:+8M", "-t", "1:EF00", "-c", "1:ESP", "-n", "2:0:+8M", "-t", "2:EF02", "-c", "2:BSP",
		"-n", "3:0:+1006M", "-t", "3:8300", "-c", "3:Root Part", "-A", "3:set:60", "-A", "3:set:5", "-A", "3:set:2",
		"-u", "3:6D4C1B8E-3F0A-4C55-9D1B-0A4F5E2C7D11", theirs)
	ids := regexp.MustCompile(`(?i)(uuid=[0-9A-F-]+, |label-id: \S+|GUID: \S+)`)
	dump := func(path string) string {
		out, err := exec.Command("sfdisk", "--dump", path).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return ids.ReplaceAllString(strings.ReplaceAll(string(out), path, "d"), "")
	}
	if a, b := dump(image), dump(theirs); a != b {
		t.Errorf("ours:\n%s\nsgdisk's:\n%s", a, b)
	}
	if out := sgdisk(t, "-i", "3", image); !strings.Contains(out, "6D4C1B8E-3F0A-4C55-9D1B-0A4F5E2C7D11") {
		t.Errorf("the partition's own GUID: %s", out)
	}
}

// Every code means what it means to sgdisk.
func TestGPTTypes(t *testing.T) {
	need(t, "sgdisk")
	var codes, parts []string
	for line := range strings.Lines(strings.TrimSpace(gptTypes)) {
		codes = append(codes, line[:4])
	}
	for len(codes) > 0 {
		n := min(100, len(codes))
		parts = nil
		for _, c := range codes[:n] {
			parts = append(parts, `{"name": "`+c+`", "type": "`+c+`", "size": "1MiB"}`)
		}
		checkCodes(t, codes[:n], sgdisk(t, "-p", tableImage(t, "gpt", parts...)))
		codes = codes[n:]
	}
}

func checkCodes(t *testing.T, codes []string, out string) {
	t.Helper()
	found := 0
	for line := range strings.Lines(out) {
		// number, first, last, size, unit, code, and the name, which is the code we gave
		if w := strings.Fields(line); len(w) == 7 && w[4] == "KiB" {
			found++
			// Some types have two codes.
			a, _ := gptType(w[5])
			if b, _ := gptType(w[6]); a != b || a == "" {
				t.Errorf("code %s is %s to sgdisk", w[6], w[5])
			}
		}
	}
	if found != len(codes) {
		t.Errorf("%d of %d partitions are there:\n%s", found, len(codes), out)
	}
}
