package blockdev

import (
	"encoding/binary"
	"fmt"
	"io"
)

// swapModel is the fsModel of swap space.
type swapModel struct{}

func (swapModel) settle(*FSPlan) {}

// least is ten pages, as mkswap has it.
func (swapModel) least(*FSPlan) (int64, error) { return 10 * blockSize, nil }

// wants is as little: how much swap is right, only the user knows.
func (swapModel) wants(*FSPlan, int64) (int64, error) { return 10 * blockSize, nil }

// WriteSwap writes the header of swap space, version 1 with pages of 4 KiB, at
// the plan's offset (kernel: include/linux/swap.h, union swap_header).
func WriteSwap(w io.WriterAt, f FSPlan) error {
	var page [blockSize]byte
	binary.LittleEndian.PutUint32(page[1024:], 1)
	binary.LittleEndian.PutUint32(page[1028:], uint32(min(f.Size/blockSize-1, 1<<32-1)))
	id, err := uuidBytes(f.UUID)
	if err != nil {
		return fmt.Errorf("swap %q: %w", f.Node, err)
	}
	copy(page[1036:1052], id)
	copy(page[1052:1068], f.Label)
	copy(page[blockSize-10:], "SWAPSPACE2")
	if _, err := w.WriteAt(page[:], f.Offset); err != nil {
		return fmt.Errorf("swap %q: %w", f.Node, err)
	}
	return nil
}
