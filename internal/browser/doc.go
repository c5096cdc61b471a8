// Package browser tests the console in a real Chromium, as a person would use it, on real nodes.
package browser
