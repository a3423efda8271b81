package blockdev

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// table writes a table onto a disk of 1 GiB and returns what partx reads.
func table(t *testing.T, parts ...string) string {
	t.Helper()
	image := tableImage(t, "mbr", parts...)
	if out, err := exec.Command("sfdisk", "--verify", image).CombinedOutput(); err != nil || !strings.Contains(string(out), "No errors detected") {
		t.Errorf("sfdisk --verify: %v\n%s", err, out)
	}
	out, err := exec.Command("partx", "-g", "-b", "-o", "NR,START,END,TYPE,FLAGS,SCHEME", image).CombinedOutput()
	if err != nil {
		t.Fatalf("partx: %v %s", err, out)
	}
	var lines []string
	for _, l := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		lines = append(lines, strings.Join(strings.Fields(l), " "))
	}
	return strings.Join(lines, "\n")
}

func TestMBR(t *testing.T) {
	need(t, "sfdisk", "partx")
	primary := func(i int) string { return fmt.Sprintf(`{"name": "p%d", "size": "10MiB", "flags": ["primary"]}`, i) }
	logical := func(i int) string { return fmt.Sprintf(`{"name": "l%d", "size": "10MiB"}`, i) }
	many := func(n int, f func(int) string) (all []string) {
		for i := range n {
			all = append(all, f(i))
		}
		return all
	}
	check := func(name, want string, parts ...string) {
		t.Run(name, func(t *testing.T) {
			if got := table(t, parts...); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
	check("one logical", "1 2048 2097151 0xf 0x0 dos\n5 4096 24575 0x83 0x0 dos", logical(0))
	check("one primary", "1 2048 22527 0x83 0x0 dos", primary(0))
	check("three primaries", "1 2048 22527 0x83 0x0 dos\n2 22528 43007 0x83 0x0 dos\n3 43008 63487 0x83 0x0 dos", many(3, primary)...)
	check("type and flag", "1 2048 22527 0xc 0x80 dos", `{"name": "p", "size": "10MiB", "flags": ["primary", "boot"], "type": "0x0c"}`)
	check("rest", "1 2048 22527 0x83 0x0 dos\n2 22528 2095103 0x83 0x0 dos", primary(0), `{"name": "r", "size": "100%", "flags": ["primary"]}`)
	var mixed, all []string
	for i := range 3 {
		mixed = append(mixed, fmt.Sprintf("%d %d %d 0x83 0x0 dos", i+1, 2048+i*20480, 2048+i*20480+20479))
	}
	mixed = append(mixed, "4 63488 2097151 0xf 0x0 dos")
	for i := range 7 {
		mixed = append(mixed, fmt.Sprintf("%d %d %d 0x83 0x0 dos", i+5, 65536+i*22528, 65536+i*22528+20479))
	}
	check("three primaries, seven logical", strings.Join(mixed, "\n"), append(many(3, primary), many(7, logical)...)...)
	// 64 of them and the extended one fill 1.4 GiB, so these are smaller.
	all = append(all, "1 2048 2097151 0xf 0x0 dos")
	for i := range 64 {
		all = append(all, fmt.Sprintf("%d %d %d 0x83 0x0 dos", i+5, 4096+i*4096, 4096+i*4096+2047))
	}
	check("64 logical", strings.Join(all, "\n"), many(64, func(i int) string { return fmt.Sprintf(`{"name": "l%d", "size": "1MiB"}`, i) })...)
}

func TestEmptyMBR(t *testing.T) {
	need(t, "sfdisk")
	image := diskImage(t, DiskPlan{Node: "d", Size: gib, SectorSize: 512, Label: "mbr", DiskID: 0x12345678})
	out, err := exec.Command("sfdisk", "-d", image).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "label: dos\nlabel-id: 0x12345678\n") || strings.Contains(string(out), "start=") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestCHS(t *testing.T) {
	for lba, want := range map[int64][3]byte{
		0: {0, 1, 0}, 62: {0, 63, 0}, 63: {1, 1, 0}, 2048: {32, 33, 0}, 255 * 63: {0, 1, 1},
		255 * 63 * 256: {0, 0x41, 0}, 255*63*1023 + 1: {0, 0xc2, 0xff}, 1 << 31: {254, 0xff, 0xff},
	} {
		if got := [3]byte(chs(lba)); got != want {
			t.Errorf("%d: %v, want %v", lba, got, want)
		}
	}
}
