package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/lithify/lithify/rootfs"
)

// storeMax is the variable that says how much room the kept steps may take.
const storeMax = "LITHIFY_STORE_MAX"

// storeLimit reads storeMax: bytes, zero for the store's own rule.
func storeLimit(env map[string]string) (int64, error) {
	text := env[storeMax]
	if text == "" {
		return 0, nil
	}
	limit, err := parseSize(storeMax, text, gib, "GiB")
	if err == nil && limit == 0 {
		err = usagef("%s: %s leaves nothing to reuse; --no-layers keeps nothing", storeMax, text)
	}
	return limit, err
}

// checkStoreLimit finds a mistake in it before anything is built.
func (j *job) checkStoreLimit() error {
	_, err := storeLimit(j.o.Environment)
	return err
}

// pruneStore notes what this build stood on, and makes room when the kept steps
// take more than they may. That it cannot is no reason to fail a build whose
// outputs are there.
func (j *job) pruneStore(ctx context.Context) {
	if j.upToDate || j.o.NoLayers || j.result.Layer == nil {
		return
	}
	limit, err := storeLimit(j.o.Environment)
	if err == nil {
		layers := []rootfs.Layer{j.result.Layer}
		for _, p := range j.result.Phases {
			layers = append(layers, p.Layer)
		}
		err = j.store.Retain(ctx, j.identity(), layers...)
	}
	if err != nil {
		j.ui.Warn(fmt.Sprintf("the kept steps were not looked after: %v", err))
		return
	}
	r, err := j.store.PruneAuto(ctx, limit)
	if err != nil {
		j.ui.Warn(fmt.Sprintf("the kept steps were not looked after: %v", err))
	}
	if r.Layers > 0 {
		j.ui.Logger().Info("removed kept steps", "steps", r.Records, "freed", sizeText(r.Freed), "left", sizeText(r.Left))
	}
}

// identity is the same for builds of the same thing: the elements, and what of
// the options selects steps. Variables and outputs are no part of it.
func (j *job) identity() string {
	var names []string
	for _, e := range j.elements {
		names = append(names, e.Name)
	}
	return fmt.Sprintf("%s %s packages=%q install-type=%s disk=%s", strings.Join(names, " "), j.o.Arch, j.o.Packages,
		j.o.InstallType, j.graph.Fingerprint())
}
