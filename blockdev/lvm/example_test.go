package lvm_test

import (
	"crypto/sha256"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/lithify/lithify/blockdev/lvm"
)

// A group on one file, and something written into one of its volumes.
func Example() {
	id := func(name string) string { return lvm.ID(sha256.Sum256([]byte("my image " + name))) }
	group := lvm.Group{Name: "vg", ID: id("vg"), Logical: []lvm.Logical{
		{Name: "root", ID: id("root"), Size: 24 << 20},
		{Name: "var", ID: id("var"), Size: 8 << 20},
	}, Volumes: []lvm.Physical{{ID: id("pv")}}}
	size, err := group.Least(0)
	if err != nil {
		log.Fatal(err)
	}
	group.Volumes[0].Size = size
	layout, err := group.Layout()
	if err != nil {
		log.Fatal(err)
	}

	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	disk, err := os.Create(filepath.Join(dir, "disk"))
	if err != nil {
		log.Fatal(err)
	}
	defer disk.Close()
	if err := disk.Truncate(size); err != nil {
		log.Fatal(err)
	}
	devices := []lvm.Device{disk}
	if err := layout.WriteMetadata(devices); err != nil {
		log.Fatal(err)
	}
	volume, err := layout.Volume("var", devices)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := volume.WriteAt([]byte("hello"), 4096); err != nil {
		log.Fatal(err)
	}

	b := make([]byte, 5)
	if _, err := disk.ReadAt(b, 25<<20+4096); err != nil {
		log.Fatal(err)
	}
	fmt.Println(size>>20, "MiB,", lvm.MapperName("vg", "var"), "says", string(b))
	// Output: 33 MiB, vg-var says hello
}
