package md_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/guest"
	"github.com/lithify/lithify/blockdev/md"
)

// files makes empty files of the members' sizes.
func files(t *testing.T, a md.Array) (devices []md.Device, names []string) {
	t.Helper()
	dir := t.TempDir()
	for i, size := range a.Members {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint("member", i)))
		if err == nil {
			err = f.Truncate(size)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		devices, names = append(devices, f), append(names, f.Name())
	}
	return devices, names
}

// written gives files with superblocks.
func written(t *testing.T, a md.Array) []string {
	t.Helper()
	devices, names := files(t, a)
	if err := a.WriteSuperblocks(devices); err != nil {
		t.Fatal(err)
	}
	return names
}

// mdadm runs it, and gives the "Key : value" lines of its answer too.
func mdadm(t *testing.T, args ...string) (string, map[string]string) {
	t.Helper()
	guest.Need(t, "mdadm")
	cmd := exec.Command("mdadm", args...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("mdadm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	fields := map[string]string{}
	for _, line := range strings.Split(string(out), "\n") {
		if key, value, found := strings.Cut(line, " : "); found {
			fields[strings.TrimSpace(key)] = value
		}
	}
	return string(out), fields
}

// wantFields compares the begin of values, since many go on with the same in GiB.
func wantFields(t *testing.T, a md.Array, got, want map[string]string) {
	t.Helper()
	for key, value := range want {
		if value == "" && got[key] != "" || !strings.HasPrefix(got[key], value) {
			t.Errorf("%s: mdadm says %q of %q, wanted %q", describe(a), got[key], key, value)
		}
	}
}

// TestExamine: mdadm reads what was asked for.
func TestExamine(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 7))
		s := randomShape(r)
		a := array(s.Level, s.members, md.MemberSize(s.Level, s.members, 32<<20, s.Array), func(a *md.Array) {
			a.Chunk, a.Layout, a.Metadata, a.Bitmap, a.HomeHost = s.Chunk, s.Layout, s.Metadata, s.Bitmap, "web"
			a.NeedsResync = r.IntN(3) == 0
		})
		names := written(t, a)
		size, err := a.Size()
		if err != nil {
			t.Fatal(err)
		}
		for i, name := range names {
			_, got := mdadm(t, "--examine", name)
			wantFields(t, a, got, wantExamined(a, i))
			if !strings.HasSuffix(got["Checksum"], " - correct") {
				t.Errorf("%s: checksum %q", describe(a), got["Checksum"])
			}
			wantSize(t, a, got["Array Size"], size)
			if after := got["Unused Space"]; len(after) > 60 || strings.Contains(after, "-") {
				t.Errorf("%s: unused space %q", describe(a), after)
			}
		}
		line := fmt.Sprintf("ARRAY /dev/md/data  metadata=%s UUID=%s name=web:data\n", a.Metadata, a.UUID)
		if got, _ := mdadm(t, append([]string{"--examine", "--scan"}, names...)...); got != line {
			t.Errorf("mdadm --examine --scan: %q, wanted %q", got, line)
		}
		if a.Bitmap {
			examineBitmap(t, a, names[0])
		}
	}
}

// wantExamined is what mdadm must say of member i.
func wantExamined(a md.Array, i int) map[string]string {
	want := map[string]string{
		"Version": a.Metadata, "Array UUID": a.UUID, "Name": "web:data", "Creation Time": "Tue Nov 14 22:13:20 2023",
		"Raid Level": fmt.Sprint("raid", a.Level), "Raid Devices": fmt.Sprint(len(a.Members)), "State": "clean",
		"Device UUID": fmt.Sprintf("00112233:44556677:8899%04x:%08x", 0, i), "Device Role": fmt.Sprint("Active device ", i),
		"Array State": strings.Repeat("A", len(a.Members)) + " (",
		"Feature Map": "0x0", "Internal Bitmap": "", "Layout": "", "Chunk Size": "", "Update Time": "Tue Nov 14 22:13:20 2023",
	}
	if a.NeedsResync && a.Level != 0 {
		want["State"] = "active"
	}
	if a.Level != 1 {
		want["Chunk Size"] = fmt.Sprintf("%dK", a.Chunk>>10)
	}
	switch a.Level {
	case 5:
		want["Layout"] = "left-symmetric"
	case 10:
		name := map[byte]string{'n': "near", 'f': "far", 'o': "offset"}[a.Layout[0]]
		want["Layout"] = name + "=" + a.Layout[1:]
	}
	if a.Bitmap {
		want["Feature Map"], want["Internal Bitmap"] = "0x1", map[string]string{"1.2": "8 sectors", "1.0": "-16 sectors"}[a.Metadata]
	}
	return want
}

// wantSize compares sizes. Of a raid10 mdadm counts parts of chunks, and chunks
// that not all copies have room for; the kernel does not (TestAssemble asks it).
func wantSize(t *testing.T, a md.Array, said string, size int64) {
	t.Helper()
	if a.Level == 0 {
		if said != "" {
			t.Errorf("%s: mdadm knows the size, %q, of an array that does not run", describe(a), said)
		}
		return
	}
	var kib int64
	if _, err := fmt.Sscanf(said, "%d KiB", &kib); err != nil {
		t.Fatalf("%s: array size %q", describe(a), said)
	}
	if over := kib<<10 - size; over < 0 || over > 0 && (a.Level != 10 || over >= int64(len(a.Members))*9*a.Chunk) {
		t.Errorf("%s: mdadm says %d bytes, Size %d", describe(a), kib<<10, size)
	}
}

// examineBitmap gives mdadm the bitmap as a file of its own: of a member it finds
// the bitmap only when that is a device.
func examineBitmap(t *testing.T, a md.Array, member string) {
	t.Helper()
	data, err := os.ReadFile(member)
	if err != nil {
		t.Fatal(err)
	}
	at := 8192
	if a.Metadata == "1.0" {
		at = len(data)/4096*4096 - 8192 - 16*512
	}
	file := filepath.Join(t.TempDir(), "bitmap")
	if err := os.WriteFile(file, data[at:at+4096], 0o644); err != nil {
		t.Fatal(err)
	}
	_, got := mdadm(t, "--examine-bitmap", file)
	dirty := "1 bits (chunks), 0 dirty (0.0%)"
	if a.NeedsResync {
		dirty = "1 bits (chunks), 1 dirty (100.0%)"
	}
	wantFields(t, a, got, map[string]string{
		"Magic": "6d746962", "Version": "4", "UUID": a.UUID, "Events": "2", "Events Cleared": "2", "State": "OK",
		"Chunksize": "64 MB", "Daemon": "5s flush period", "Write Mode": "Normal", "Bitmap": dirty,
	})
}

// TestExaminePublished compares more of what mdadm says with what it said of
// arrays that it had made itself (see TestSizesOfMdadm).
func TestExaminePublished(t *testing.T) {
	for _, c := range []struct {
		level, n    int
		avail, data int64 // sectors
		bitmap      bool
		want        map[string]string
	}{
		{5, 4, 3906764976, 264192, true, map[string]string{"Array Size": "5860147200 KiB", "Used Dev Size": "3906764800 sectors",
			"Unused Space": "before=264112 sectors, after=176 sectors", "Bad Block Log": "512 entries available at offset 16 sectors"}},
		{5, 7, 7813772976, 264192, true, map[string]string{"Array Size": "23441316864 KiB", "Used Dev Size": "7813772288 sectors",
			"Unused Space": "before=264112 sectors, after=688 sectors", "Bad Block Log": "512 entries available at offset 24 sectors"}},
		{1, 2, 2093056, 4096, true, map[string]string{"Array Size": "1046528 KiB",
			"Unused Space": "before=4016 sectors, after=0 sectors", "Bad Block Log": "512 entries available at offset 16 sectors"}},
		{1, 2, 974405632, 264192, true, map[string]string{"Array Size": "487202816 KiB",
			"Unused Space": "before=264112 sectors, after=0 sectors", "Bad Block Log": "512 entries available at offset 16 sectors"}},
		{1, 2, 16758784, 18432, false, map[string]string{"Array Size": "8379392 KiB",
			"Unused Space": "before=18352 sectors, after=0 sectors", "Bad Block Log": "512 entries available at offset 16 sectors"}},
	} {
		a := array(c.level, c.n, (c.avail+c.data)*512, func(a *md.Array) { a.Bitmap = c.bitmap })
		_, got := mdadm(t, "--examine", written(t, a)[0])
		c.want["Avail Dev Size"] = fmt.Sprint(c.avail, " sectors")
		c.want["Data Offset"] = fmt.Sprint(c.data, " sectors")
		wantFields(t, a, got, c.want)
	}
}
