//go:build !linux

package main

import "syscall"

func sysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

func (p *process) resident() float64 { return 0 }
