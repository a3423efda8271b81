package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/lithify/lithify/oci"
	"github.com/spf13/cobra"
)

// newCacheCommand is lithify cache: what the store, or a repository of a
// registry, keeps, pruning it and looking whether it is whole.
func newCacheCommand(env []string, stdout io.Writer) *cobra.Command {
	cache := &cobra.Command{
		Use:   "cache",
		Short: "Show, prune or verify the kept steps",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cache.AddCommand(newCacheListCommand(env, stdout), newCachePruneCommand(env, stdout), newCacheVerifyCommand(env, stdout))
	return cache
}

func newCacheListCommand(env []string, stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "ls [REPO]",
		Short: "List the kept steps, the longest unused first; of a registry's REPO the oldest first",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return withRepository(env, args[0], func(r *oci.Repository) error { return repositoryList(cmd.Context(), r, stdout) })
			}
			return withStore(cmd.Context(), env, func(s *oci.Store) error { return cacheList(cmd.Context(), s, stdout) })
		},
	}
}

func newCachePruneCommand(env []string, stdout io.Writer) *cobra.Command {
	var all bool
	var age, size string
	cmd := &cobra.Command{
		Use:   "prune [REPO]",
		Short: "Remove kept steps that were not used of late; of a registry's REPO those made long ago",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := pruneOptions(all, age, size)
			if err != nil {
				return err
			}
			if len(args) > 0 {
				if size != "" {
					return usagef("--max-size: entries of a registry share what they take; --older-than removes those made longer ago")
				}
				return withRepository(env, args[0], func(r *oci.Repository) error { return repositoryPrune(cmd.Context(), r, o, stdout) })
			}
			return withStore(cmd.Context(), env, func(s *oci.Store) error { return cachePrune(cmd.Context(), s, o, stdout) })
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "remove every step that no running build stands on")
	cmd.Flags().StringVar(&age, "older-than", "30d", "remove steps not used for longer than this: 90m, 24h, 7d")
	cmd.Flags().StringVar(&size, "max-size", "", "remove the longest unused steps until the rest takes at most this: 10GiB")
	return cmd
}

func pruneOptions(all bool, age, size string) (oci.PruneOptions, error) {
	o := oci.PruneOptions{All: all}
	var err error
	if o.OlderThan, err = parseAge(age); err != nil || o.OlderThan <= 0 {
		return o, usagef("--older-than: %q is no duration; write one like 90m, 24h or 7d", age)
	}
	if size == "" {
		return o, nil
	}
	if o.MaxBytes, err = parseSize("--max-size", size, gib, "GiB"); err == nil && o.MaxBytes == 0 {
		err = usagef("--max-size: %s leaves nothing; --all removes every step", size)
	}
	return o, err
}

// withStore opens this user's store, in a session: an ordinary user's layers
// belong to subordinate ids.
func withStore(ctx context.Context, env []string, do func(*oci.Store) error) error {
	if inside, err := enterSession(ctx, false); !inside {
		return err
	}
	s, err := oci.Open(ctx, oci.Options{Root: storeRoot(environmentMap(env))})
	if err != nil {
		return err
	}
	return errors.Join(do(s), s.Close())
}

func cacheList(ctx context.Context, s *oci.Store, stdout io.Writer) error {
	entries, err := s.List(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "LAST USED\tTOOK\tSIZE\tKEY\tSTEP")
	var total int64
	for _, e := range entries {
		total += e.Size
		fmt.Fprintf(w, "%s\t%s\t%s\t%.12s\t%s\n", e.Used.Local().Format(time.DateTime), shortDuration(e.Record.Took), sizeText(e.Size),
			e.Record.Key, stepName(e.Record.Phase, e.Record.Element, e.Record.Name))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s, %s\n", count(len(entries), "step"), sizeText(total))
	return err
}

func cachePrune(ctx context.Context, s *oci.Store, o oci.PruneOptions, stdout io.Writer) error {
	r, err := s.Prune(ctx, o)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s removed, %s freed; %s left", count(r.Records, "step"), sizeText(r.Freed), sizeText(r.Left))
	if r.Held > 0 {
		text += fmt.Sprintf("; %s in use", count(r.Held, "step"))
	}
	_, err = fmt.Fprintln(stdout, text)
	return err
}
