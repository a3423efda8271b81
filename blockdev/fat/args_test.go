package fat

import (
	"strings"
	"testing"
)

func TestParseOptions(t *testing.T) {
	for line, want := range map[string]Options{
		"":                         {},
		"-F 32 -s 8":               {Bits: 32, SectorsPerCluster: 8},
		"-F32 -aIv":                {Bits: 32, NoAlign: true},
		"-aF 16 -n esp":            {Bits: 16, NoAlign: true, Label: "ESP"},
		"-i 2e24ec82":              {ID: 0x2E24EC82},
		"-i 2E24-EC82":             {ID: 0x2E24EC82},
		"-f 1 -r 1024 -R 40":       {FATs: 1, RootEntries: 1024, Reserved: 40},
		"-M 0xf0 -h 2048 -S 4096":  {Media: 0xF0, HiddenSectors: 2048, SectorSize: 4096},
		"-F 16 -F 12 -nA_B-C -s 1": {Bits: 12, Label: "A_B-C", SectorsPerCluster: 1},
	} {
		var o Options
		if err := ParseOptions(strings.Fields(line), &o); err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if o.Bits != want.Bits || o.SectorsPerCluster != want.SectorsPerCluster || o.NoAlign != want.NoAlign || o.Label != want.Label ||
			o.ID != want.ID || o.FATs != want.FATs || o.RootEntries != want.RootEntries || o.Reserved != want.Reserved ||
			o.Media != want.Media || o.HiddenSectors != want.HiddenSectors || o.SectorSize != want.SectorSize {
			t.Errorf("%s: %+v", line, o)
		}
	}
}

func TestParseOptionsErrors(t *testing.T) {
	for line, want := range map[string]string{
		"-F 8":                   "12, 16 and 32",
		"-F":                     "value is missing",
		"-s 3":                   "1, 2, 4, 8",
		"-s x":                   "from 1 to 128",
		"-S 4096 -s 32":          "at most 65536 bytes",
		"-S 100":                 "512 to 4096",
		"-i 123456789":           "hexadecimal",
		"-i +1":                  "hexadecimal",
		"-i 0":                   "not all zero",
		"-n twelve_chars":        "at most 11",
		"-n a*b":                 "'*'",
		"-n \u0131":              "'\u0131'", // whose upper case is I
		"-n ääääääää":            "'ä'",      // eight characters
		"-A":                     "Atari",
		"-c":                     "bad blocks",
		"-C":                     "allowed: -F BITS",
		"-x":                     "not known; allowed: -F BITS",
		"--invariant":            "allowed: -F BITS",
		"-a disk.img":            `"disk.img"`,
		"-M 0x12":                "0xF8 to 0xFF",
		"-h -1":                  "number of sectors",
		"-f 3":                   "from 1 to 2",
		"-r 65535":               "1 to 65408",
		"-" + string(rune(0xFF)): "not known",
	} {
		var o Options
		if err := ParseOptions(strings.Fields(line), &o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
	o := Options{SectorSize: 4096}
	if err := ParseOptions([]string{"-S", "512"}, &o); err == nil || !strings.Contains(err.Error(), "the disk's sectors") {
		t.Errorf("-S 512 on a disk of 4096: %v", err)
	}
}

func TestWriteRefuses(t *testing.T) {
	for want, o := range map[string]Options{
		"FAT has 1 to 4294967295 sectors": {Size: 100},
		"4294967295 sectors of 512":       {Size: 3 << 40},
		"too small for FAT32":             {Size: 20 * mib, Bits: 32},
		"at least 65541 are needed":       {Size: 200 * mib, Bits: 32, SectorsPerCluster: 8},
		"too large for FAT12":             {Size: 1024 * mib, Bits: 12},
		"FAT32 needs 8":                   {Size: 64 * mib, Bits: 32, Reserved: 3},
		"allowed are 512":                 {Size: mib, SectorSize: 520},
		"FAT of 8 bits":                   {Size: mib, Bits: 8},
	} {
		m := &memory{}
		err := Write(t.Context(), m, "", o)
		if err == nil || !strings.Contains(err.Error(), want) || m.b != nil {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
}

func TestIDs(t *testing.T) {
	if s := FormatID(0x00C0FFEE); s != "00C0-FFEE" {
		t.Error(s)
	}
	if id, err := ParseID(FormatID(0xC0FFEE)); id != 0xC0FFEE || err != nil {
		t.Error(id, err)
	}
}
