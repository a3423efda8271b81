package oci

func helperMain(string) int { return 1 }
