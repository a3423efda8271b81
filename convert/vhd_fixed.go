package convert

import (
	"context"
	"os"
)

// VHDFixed writes src into dst as a fixed VHD: the disk as Raw writes it,
// filled up with a hole to whole MiB as Azure wants it, and a footer behind.
// The virtual size is the rounded one; more than 2040 GiB is an error. What was
// in dst is lost. Without the footer a file is no VHD; it is written last.
func VHDFixed(ctx context.Context, dst *os.File, src Source, o Options) error {
	size := roundUp(src.Size, 1<<20)
	if err := checkVHDSize(size); err != nil {
		return err
	}
	footer, err := vhdFooter(vhdFixedType, size, src, o)
	if err != nil {
		return err
	}
	if err := Raw(ctx, dst, src, o); err != nil {
		return err
	}
	return writePieces(dst, size+vhdFooterSize, piece{size, footer})
}
