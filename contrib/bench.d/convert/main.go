// Command convert writes a raw disk as qcow2 with package convert and nothing
// else of lithify, so that contrib/bench can measure that writer beside
// qemu-img: convert zstd|zlib|none RAW QCOW2.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/lithify/lithify/convert"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "convert:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	if len(args) != 3 {
		return fmt.Errorf("arguments %q: zstd|zlib|none RAW QCOW2 is expected", args)
	}
	o := convert.Options{Compress: args[0] != "none"}
	if o.Compress {
		if o.Format, err = convert.ParseOptions("qcow2", "compression_type="+args[0]); err != nil {
			return err
		}
	}
	in, err := os.Open(args[1])
	if err != nil {
		return err
	}
	defer in.Close()
	src, err := convert.FileSource(in)
	if err != nil {
		return err
	}
	out, err := os.Create(args[2])
	if err != nil {
		return err
	}
	return errors.Join(convert.Qcow2(ctx, out, src, o), out.Close())
}
