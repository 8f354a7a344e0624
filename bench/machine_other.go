//go:build !linux

package main

import (
	"errors"
	"os/exec"
	"runtime"
	"time"
)

var errNotLinux = errors.New(
	"bench needs Linux: it pins processes to CPUs and reads their CPU clocks")

func cpuTime(int) (time.Duration, error)   { return 0, errNotLinux }
func pinSelf() error                       { return errNotLinux }
func startPinned(*exec.Cmd) error          { return errNotLinux }
func residentMemory(string) (int64, error) { return 0, errNotLinux }
func processorName() string                { return runtime.GOARCH }
func kernelRelease() string                { return runtime.GOOS }
