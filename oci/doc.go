// Package oci keeps root file systems as layers and makes images of them. It
// implements rootfs.Store on containers/storage (layers, overlay mounts),
// buildah (the scratch base) and go-containerregistry (images, push), and is the
// only importer of the three.
//
// It does not run commands, knows no elements and no disks, and does not enter
// namespaces: the process is expected to be root, or root of a user namespace
// with subordinate ids, in a mount namespace of its own.
//
// # On disk
//
//	ROOT/overlay*, ROOT/storage.lock   containers/storage's graph root
//	ROOT/lithify/version               format of what follows
//	ROOT/lithify/base.json             which layer is the empty base
//	ROOT/lithify/images/NAME.json      what the name of a base image stood for, by hash of name and platform
//	ROOT/lithify/records/KEY.json      one sealed step each; the mtime is the last use
//	ROOT/lithify/folds/LAYER.json      the layer that stands for LAYER's whole stack
//	ROOT/lithify/info/LAYER.json       size and hard links of LAYER (can be found again)
//	ROOT/lithify/blobs/LAYER[-BELOW].json  digest of the archive that turns the tree of BELOW into that of LAYER
//	ROOT/lithify/entries/LAYER.json    archives whose tree LAYER shows, as they travel through registries
//	ROOT/lithify/builds/COMMAND.json   layers of the last builds of a command
//	ROOT/lithify/sizes.json            sizes of all layers (can be found again)
//	ROOT/lithify/locks/                flock files: layer-ID, claim-KEY, fold-ID, pull-CHAIN, builds-COMMAND, builders, base, format
//	ROOT/lithify/run/NAME, NAME.lock   work and run root of one open store
//
// # What makes a layer safe to reuse
//
// Layers are written through overlay mounts with `volatile`, so nothing is
// flushed while a build runs, and containers/storage does not notice a layer
// that a power cut tore. A layer is therefore reusable only when a record names
// it or a layer above it, and a record is written only after a syncfs:
//
//	Seal: if anything was finished since the last syncfs: syncfs(ROOT)
//	      write record to a temporary file, fsync, rename, fsync folder
//	Open: layers below no record, whose lock nobody holds, are removed
//
// # Cost
//
// One step (claim, layer, mount, a file written, look for changes, unmount)
// takes 7 ms on two shared cores (BenchmarkStep), of it half in the two flushes
// of containers/storage's list of layers; 25-50 ms while the disk is busy.
//
// # Who may remove what
//
// Whoever uses a layer holds a shared flock on locks/layer-ID, taken before the
// layer exists or re-checked after it was taken; whoever removes a layer holds
// it exclusively. containers/storage refuses to remove a layer that another
// stands on, so one lock guards the whole stack below. The kernel drops the
// locks of a process that dies.
package oci

import (
	"github.com/containers/storage/pkg/reexec"
)

// Init must be the first call of main. It is true when this process is a
// re-execution by containers/storage, whose work is then done: main returns.
func Init() bool { return reexec.Init() }
