// Package elements finds elements, works out which ones a build needs, and
// merges them into the hooks tree that the phases run from.
//
// An element is a folder of hooks and data with the layout of
// diskimage-builder. This package knows where elements are (Library), how they
// depend on each other (Resolve), what their files become when several are
// used together (Tree, Hook), and how their declarative files are read:
// package-installs, pkg-map, svc-map, environment.d, install types and block
// device layouts.
//
// It runs nothing, mounts nothing and writes only where WriteTo is told to.
// What a file of an element says is data here: the shell that reads
// environment.d, the package manager and the block device layer belong to
// other packages.
package elements
