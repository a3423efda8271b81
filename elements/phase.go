package elements

import "slices"

// Phase is one of the ten moments of a build at which hooks run.
type Phase string

// The phases, by the name of their folder without ".d".
const (
	Root        Phase = "root"
	ExtraData   Phase = "extra-data"
	PreInstall  Phase = "pre-install"
	Install     Phase = "install"
	PostInstall Phase = "post-install"
	PostRoot    Phase = "post-root"
	BlockDevice Phase = "block-device"
	PreFinalise Phase = "pre-finalise"
	Finalise    Phase = "finalise"
	Cleanup     Phase = "cleanup"
)

// Phases returns all phases in the order in which a build runs them.
func Phases() []Phase {
	return []Phase{
		Root, ExtraData, PreInstall, Install, PostInstall,
		PostRoot, BlockDevice, PreFinalise, Finalise, Cleanup,
	}
}

// Outside tells whether the hooks of p run on the build host; the others run
// inside the target, as its root.
func (p Phase) Outside() bool {
	return !slices.Contains([]Phase{PreInstall, Install, PostInstall, Finalise, RamdiskBuild, RamdiskInstall}, p)
}

// Dir is the name of the folder that holds the hooks of p.
func (p Phase) Dir() string { return string(p) + ".d" }

// packagePhases are those for which packages can be declared.
func packagePhases() []Phase { return []Phase{PreInstall, Install, PostInstall} }
