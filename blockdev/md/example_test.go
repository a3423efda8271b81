package md_test

import (
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/lithify/lithify/blockdev/md"
)

// Two files become a raid1, which mdadm --assemble takes as it is.
func Example() {
	dir, err := os.MkdirTemp("", "md")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	size := md.MemberSize(1, 2, 16<<20, md.Array{})
	a := md.Array{
		Level: 1, Name: "root", UUID: "6cdc7b69:3a1f0c2e:95d4b8a7:01e2f3c4", Time: time.Unix(1_700_000_000, 0),
		Members: []int64{size, size}, MemberIDs: []string{"8b1c7d1e-0f5d-4c55-9f0e-5a1f6f8c0001", "8b1c7d1e-0f5d-4c55-9f0e-5a1f6f8c0002"},
	}
	var members []md.Device
	for i := range a.Members {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint("member", i)))
		if err != nil {
			log.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(size); err != nil {
			log.Fatal(err)
		}
		members = append(members, f)
	}
	if err := a.WriteSuperblocks(members); err != nil {
		log.Fatal(err)
	}
	v, err := a.Open(members)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := io.WriteString(io.NewOffsetWriter(v, 0), "on both"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(v.Size(), size, v.Close())
	// Output: 16777216 17825792 <nil>
}
