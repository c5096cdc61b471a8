// Package packaging holds the tests of what a package installs and a service manager starts: the files of the folder ops, the
// targets of the Makefile that install them, and the page that tells people how.
package packaging
