// Package blockdev turns a block-device configuration into disks: the
// configuration becomes a graph of typed nodes, the graph and the measured
// content become a plan, and a back end makes the plan real.
//
//	Parse or Default → Config.Graph → Graph.Identify → Measure → Graph.Layout → Backend.Create
//
// The configuration is diskimage-builder's: a YAML or JSON list of single-key
// maps as a tree or a graph, or the manual's list of levels. schema.json says what
// may stand in it, and Graph checks what concerns several nodes. Nodes are data:
// they hold what the user said and nothing of how it is made. A plan holds every
// number that a back end, the boot code and hooks need, so that two back ends
// cannot differ in a size, an offset or an id.
//
// The package knows the formats (partition tables, what a file system costs, the
// command line of mke2fs) and touches no device: package loop does so with the
// kernel's help, package file without it. Boot code is package boot's.
package blockdev
