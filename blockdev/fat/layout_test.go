package fat

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestLayoutInvariants goes through sizes, odd ones too, and checks by
// arithmetic what the specification asks for.
func TestLayoutInvariants(t *testing.T) {
	for _, o := range []Options{
		{}, {ESP: true}, {NoAlign: true, FATs: 1}, {SectorSize: 4096}, {SectorSize: 4096, ESP: true},
		{Bits: 32, SectorSize: 1024}, {Bits: 16}, {Bits: 12, Reserved: 7}, {SectorsPerCluster: 1}, {SectorsPerCluster: 64},
	} {
		o, err := o.complete()
		if err != nil {
			t.Fatal(err)
		}
		last := 0
		for o.Size = 64 << 10; o.Size < 2200*mib; o.Size += 97<<10 + o.Size/700 {
			l, err := newLayout(o)
			if err != nil {
				if o.Bits == 0 && o.SectorsPerCluster == 0 && o.Size > mib {
					t.Fatalf("%+v: %v", o, err)
				}
				continue
			}
			checkLayout(t, l, o)
			if l.bits < last {
				t.Fatalf("%+v: FAT%d after FAT%d", o, l.bits, last)
			}
			last = l.bits
			if o.ESP && (o.Size > 34*mib && o.SectorSize == 512 || o.Size > 258*mib) && l.bits != 32 {
				t.Fatalf("%+v: FAT%d on an ESP", o, l.bits)
			}
		}
	}
}

func checkLayout(t *testing.T, l *layout, o Options) {
	t.Helper()
	min, most := map[int]int64{12: 1, 16: 4101, 32: 65541}[l.bits], map[int]int64{12: 4068, 16: 65508, 32: 1 << 28}[l.bits]
	formula := (l.total - l.reserved - l.fats*l.fatSize - l.root) / l.perClus
	tableBytes := ((l.clusters+2)*int64(l.bits) + 7) / 8
	wasted := o.Size - (l.dataStart+l.clusters*l.perClus)*l.sector
	switch {
	case l.clusters < min || l.clusters > most:
		t.Fatalf("%+v: %d clusters on FAT%d", o, l.clusters, l.bits)
	case formula != l.clusters:
		t.Fatalf("%+v: %d clusters by fatgen103, %d here", o, formula, l.clusters)
	case l.fatSize != (tableBytes+l.sector-1)/l.sector:
		t.Fatalf("%+v: FAT of %d sectors for %d clusters", o, l.fatSize, l.clusters)
	case l.total*l.sector > o.Size || l.reserved < 1 || l.reserved > 65535 || l.bits == 32 && l.reserved < minReserved32:
		t.Fatalf("%+v: %+v", o, l)
	case wasted < 0 || wasted > 34*l.cluster():
		t.Fatalf("%+v: %d bytes at the end are not used", o, wasted)
	case !o.NoAlign && l.dataStart%l.perClus != 0:
		t.Fatalf("%+v: clusters begin at sector %d", o, l.dataStart)
	case o.NoAlign && l.reserved > int64(orDefault(o.Reserved, 32))+2:
		t.Fatalf("%+v: %d reserved sectors", o, l.reserved)
	}
}

var mkfsShape = regexp.MustCompile(`(?s)FATs? and (\d+) sectors? per cluster`)
var mkfsBits = regexp.MustCompile(`(\d+)-bit FAT`)

// TestShapeIsMkfs compares type and cluster size with those of mkfs.fat. Near
// the borders between types, from which mkfs.fat keeps less distance, and below
// 16 MiB, where it may halve clusters for FAT16's sake, they may differ.
func TestShapeIsMkfs(t *testing.T) {
	need(t, "mkfs.fat")
	for _, size := range []int64{16, 20, 31, 32, 33, 64, 100, 127, 128, 129, 256, 260, 400, 500, 511, 512, 513, 550, 1024, 2000, 2048, 9000} {
		path := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size*mib); err != nil {
			t.Fatal(err)
		}
		out := run(t, "mkfs.fat", "-v", path)
		o, err := Options{Size: size * mib}.complete()
		if err != nil {
			t.Fatal(err)
		}
		l, err := newLayout(o)
		if err != nil {
			t.Fatal(err)
		}
		bits, per := mkfsBits.FindStringSubmatch(out), mkfsShape.FindStringSubmatch(out)
		if bits == nil || per == nil || bits[1] != fmt.Sprint(l.bits) || per[1] != fmt.Sprint(l.perClus) {
			t.Errorf("%d MiB: FAT%d with %d sectors per cluster; mkfs.fat: %s", size, l.bits, l.perClus, out)
		}
	}
}
