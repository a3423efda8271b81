// Command convert writes one format with package convert and nothing else of
// lithify, so that contrib/bench can measure that writer beside its peer:
//
//	convert FORMAT OPTIONS SOURCE OUT
//
// SOURCE is a raw disk or a folder, as the format has it; OPTIONS are those of
// --qemu-img-options, or "".
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/lithify/lithify/convert"
)

// main is a program's own, so it may exit; nothing is left to close there.
func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "convert:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("arguments %q: FORMAT OPTIONS SOURCE OUT are expected", args)
	}
	f, err := convert.Lookup(args[0])
	if err != nil {
		return err
	}
	options, err := convert.ParseOptions(f.Name, args[1])
	if err != nil {
		return err
	}
	out, err := os.Create(args[3])
	if err != nil {
		return err
	}
	if f.NeedsDisk {
		err = writeDisk(ctx, f, out, args[2], convert.Options{Compress: true, Format: options})
	} else {
		err = convert.Tree(ctx, f, out, args[2], convert.TreeOptions{Format: options})
	}
	return errors.Join(err, out.Close())
}

func writeDisk(ctx context.Context, f convert.Format, out *os.File, path string, o convert.Options) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	src, err := convert.FileSource(in)
	if err != nil {
		return err
	}
	return convert.Disk(ctx, f, out, src, o)
}
