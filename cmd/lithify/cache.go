package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"
)

// newCacheCommand is lithify cache: what the store keeps, and pruning it.
func newCacheCommand(env []string, stdout io.Writer) *cobra.Command {
	cache := &cobra.Command{
		Use:   "cache",
		Short: "Show or prune the kept steps",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cache.AddCommand(&cobra.Command{
		Use:   "ls",
		Short: "List the kept steps",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cacheList(cmd.Context(), environmentMap(env), stdout)
		},
	}, &cobra.Command{
		Use:   "prune",
		Short: "Remove kept steps that no build of late stands on",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cachePrune(cmd.Context(), environmentMap(env), stdout)
		},
	})
	return cache
}

func cacheList(context.Context, map[string]string, io.Writer) error {
	return notYetf("lithify cache ls")
}

func cachePrune(context.Context, map[string]string, io.Writer) error {
	return notYetf("lithify cache prune")
}
