package rootfs

// SetStepVersion stands for a release whose steps do something else.
func SetStepVersion(n int) { stepVersion = n }

// StepVersion is the version in force.
func StepVersion() int { return stepVersion }
