package clients

import (
	"path/filepath"
	"slices"
	"testing"

	"quipu/internal/toolbox"
)

// javaChecks leave out unix sockets: Jedis knows none, and Lettuce needs a native library for them.
func javaChecks() []string {
	return slices.DeleteFunc(slices.Clone(checks), func(name string) bool { return name == "unix-socket" })
}

// TestJava compiles the programs in Java together, as starting the compiler takes longer than most of them.
func TestJava(t *testing.T) {
	t.Parallel()
	var sources []string
	for _, folder := range []string{"java", "jedis", "lettuce"} {
		files, err := filepath.Glob(filepath.Join(folder, "*.java"))
		if err != nil || len(files) == 0 {
			t.Fatal(folder, files, err)
		}
		sources = append(sources, files...)
	}
	java := toolbox.Java(t, sources...)
	t.Run("jedis", func(t *testing.T) { runProgram(t, java, "JedisMain", javaChecks()) })
	t.Run("lettuce", func(t *testing.T) { runProgram(t, java, "LettuceMain", javaChecks()) })
	t.Run("jedis secure", func(t *testing.T) { runSecure(t, java, "JedisSecure") })
	t.Run("lettuce secure", func(t *testing.T) { runSecure(t, java, "LettuceSecure") })
}
