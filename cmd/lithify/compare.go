package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"

	"github.com/lithify/lithify/blockdev/compare"
	"github.com/lithify/lithify/blockdev/loop"
	"github.com/spf13/cobra"
)

// Exit codes of lithify compare are those of cmp and diff.
const (
	exitDifferent = 1
	exitTrouble   = 2
)

// errDifferent ends a comparison that has found something, and said so.
var errDifferent = errors.New("different")

// newCompareCommand is lithify compare: where two images differ.
func newCompareCommand(stdout io.Writer) *cobra.Command {
	var o compare.Options
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "compare [OPTION]... A B",
		Short: "Say where two images differ: table, file system, file, byte",
		Long: "Say where two images differ: container, partition table, file system, file, byte. A and B are two disks (raw, qcow2,\n" +
			"vhd, vhdx, vdi, vmdk), or two trees (tar archives, docker archives, folders), each of them compressed or not. Disks of\n" +
			"two formats are compared by their content.\n\n" +
			"Exit codes: 0 equal, 1 different, 2 trouble.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("name two images, found %d; lithify compare --help says more", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return compareMain(cmd.Context(), args[0], args[1], o, asJSON, stdout)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Max, "max", 20, "differences to show of each part; -1: all")
	flags.BoolVar(&o.IgnoreTimes, "ignore-times", false, "leave out times, and blocks that no file shows")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	return cmd
}

func compareMain(ctx context.Context, a, b string, o compare.Options, asJSON bool, stdout io.Writer) error {
	if os.Geteuid() == 0 {
		o.Mount = loop.MountReadOnly
	}
	if o.Max == 0 {
		return usagef("--max 0 shows nothing; allowed: 1 and more, or -1 for all")
	}
	report, err := compare.Images(ctx, a, b, o)
	switch {
	case errors.As(err, new(*compare.KindError)):
		return usageError{err}
	case ctx.Err() != nil:
		return interrupted{cause: context.Cause(ctx), err: err}
	case err != nil:
		return troubleError{err}
	}
	if err := printReport(report, asJSON, stdout); err != nil {
		return troubleError{err}
	}
	if !report.Equal {
		return errDifferent
	}
	return nil
}

func printReport(r *compare.Report, asJSON bool, stdout io.Writer) error {
	if !asJSON {
		return r.Text(stdout)
	}
	e := json.NewEncoder(stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// troubleError is why a comparison could not be made: 1 would say that it was,
// and found something.
type troubleError struct{ error }

func (e troubleError) Unwrap() error { return e.error }
