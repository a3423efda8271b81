package main

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/lithify/lithify/oci"
	"github.com/lithify/lithify/rootfs"
	"github.com/spf13/cobra"
)

// withRepository opens the repository that an argument names.
func withRepository(env []string, text string, do func(*oci.Repository) error) error {
	r, err := oci.OpenRepository(text, environmentMap(env)["REGISTRY_AUTH_FILE"])
	if err != nil {
		return usagef("%w", err)
	}
	return do(r)
}

func repositoryList(ctx context.Context, r *oci.Repository, stdout io.Writer) error {
	entries, err := r.List(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MADE\tTOOK\tSIZE\tSIGNED\tKEY\tSTEP")
	for _, e := range entries {
		if e.Err != nil {
			fmt.Fprintf(w, "-\t-\t-\t-\t%.12s\tbroken: %v\n", e.Key, e.Err)
			continue
		}
		signed := "no"
		if e.Signed {
			signed = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.12s\t%s\n", e.Made.Local().Format(time.DateTime), shortDuration(e.Took), sizeText(e.Size), signed,
			e.Key, stepName(e.Phase, e.Element, e.Name))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, count(len(entries), "step"))
	return err
}

func repositoryPrune(ctx context.Context, r *oci.Repository, o oci.PruneOptions, stdout io.Writer) error {
	age := o.OlderThan
	if o.All {
		age = -1 // of however short a life
	}
	gone, left, err := r.Prune(ctx, age)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s removed, %d left; the registry frees the room when it collects its garbage\n", count(len(gone), "step"), left)
	return err
}

func newCacheVerifyCommand(env []string, stdout io.Writer) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "verify [REPO]",
		Short: "Check the kept steps whole, or download and check all of a registry's REPO",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := verifyKey(file)
			if err != nil {
				return err
			}
			if len(args) > 0 {
				return withRepository(env, args[0], func(r *oci.Repository) error { return repositoryVerify(cmd.Context(), r, key, stdout) })
			}
			if key != nil {
				return usagef("--cache-verify-key: the steps of the local store are not signed; name a REPO")
			}
			return withStore(cmd.Context(), env, func(s *oci.Store) error { return storeVerify(cmd.Context(), s, stdout) })
		},
	}
	cmd.Flags().StringVar(&file, "cache-verify-key", "", "public ed25519 key (PEM) of which every entry must be signed")
	return cmd
}

func repositoryVerify(ctx context.Context, r *oci.Repository, key ed25519.PublicKey, stdout io.Writer) error {
	entries, err := r.List(ctx)
	if err != nil {
		return err
	}
	bad, seen := 0, map[string]bool{}
	for _, e := range entries {
		err := r.Verify(ctx, e.Key, key, seen)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			bad++
			fmt.Fprintln(stdout, err)
		}
	}
	return verified(stdout, len(entries), bad)
}

func storeVerify(ctx context.Context, s *oci.Store, stdout io.Writer) error {
	bad := 0
	steps, err := s.VerifyStore(ctx, func(rec rootfs.Record, err error) {
		bad++
		fmt.Fprintf(stdout, "step %.12s %s: %v\n", rec.Key, stepName(rec.Phase, rec.Element, rec.Name), err)
	})
	if err != nil {
		return err
	}
	return verified(stdout, steps, bad)
}

func verified(stdout io.Writer, all, bad int) error {
	if bad > 0 {
		return fmt.Errorf("%d of %s cannot be used; they are made anew when a build wants them", bad, count(all, "step"))
	}
	_, err := fmt.Fprintf(stdout, "%s checked, all right\n", count(all, "step"))
	return err
}
