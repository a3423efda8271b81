// Package blockdev turns a block-device configuration into disks: the
// configuration becomes a graph of typed nodes, the graph and the measured
// content become a plan, and a back end makes the plan real.
//
//	Parse or Default → Config.Graph → Graph.Identify → Measure → Graph.Layout → Backend.Create
//
// Graph.Make is the last three in one call. What Create gives is a Disk: Commit
// keeps its raw images, Close deletes them.
//
// The configuration is diskimage-builder's: a YAML or JSON list of single-key
// maps as a tree or a graph, or the manual's list of levels. schema.json says what
// may stand in it, and Graph checks what concerns several nodes. Nodes are data:
// they hold what the user said and nothing of how it is made. A plan holds every
// number that a back end, the boot code and hooks need, so that two back ends
// cannot differ in a size, an offset or an id.
//
// Disks carry partition tables, and what is a block device may carry a file
// system or be part of a volume: an array (md), an encrypted volume (luks), or a
// physical volume of a group whose logical volumes are block devices again (lvm).
// They stack in any order.
//
//   - package file writes all of it into files: no root, loop device,
//     device-mapper or program of LVM's, mdadm's or cryptsetup's. Nothing is
//     mounted; the content comes from a tree.
//   - package loop uses loop devices and the kernel's file systems, as root: the
//     disk is mounted until Commit, and what is changed in it then stays.
//
// The package knows the formats (partition tables, what a file system costs, the
// command line of mke2fs) and touches no device. Boot code is package boot's;
// lvm, md, luks, fat and btrfs each know one format. The examples make, fill and
// delete disks; `lithify blockdev plan` prints a plan.
package blockdev
