//go:build race

package e2e

func init() { raceFlag = "-race=true" }
