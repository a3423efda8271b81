package luks_test

import (
	"fmt"
	"io"
	"os"

	"github.com/lithify/lithify/blockdev/luks"
)

// A volume for GRUB on a file, written and opened again.
func Example() {
	file, err := os.CreateTemp("", "luks")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.Remove(file.Name())
	defer file.Close()

	o := luks.Options{
		Size:  20 << 20,
		Label: "secrets",
		PBKDF: luks.PBKDF{Kind: luks.PBKDF2, Iterations: 1000}, // far too few, but for an example
	}
	volume, err := luks.Format(file, o, [][]byte{[]byte("a passphrase"), []byte("another")})
	if err != nil {
		fmt.Println(err)
		return
	}
	io.WriteString(io.NewOffsetWriter(volume, 0), "what is to be kept")
	volume.Close()

	volume, err = luks.Open(file, o.Size, []byte("another"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer volume.Close()
	kept := make([]byte, 18)
	volume.ReadAt(kept, 0)
	fmt.Printf("%s, %d of %d bytes\n", kept, volume.Size(), o.Size)
	// Output: what is to be kept, 4194304 of 20971520 bytes
}
