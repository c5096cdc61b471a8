package clients

import (
	"path/filepath"
	"testing"

	"quipu/internal/toolbox"
)

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
	// Jedis knows no unix sockets, and Lettuce needs a native library for them.
	list, java := without(checks, "unix-socket"), toolbox.Java(t, sources...)
	for name, check := range map[string]func(t *testing.T){
		"jedis":          func(t *testing.T) { runProgram(t, java, "JedisMain", list) }, // which is parallel
		"lettuce":        func(t *testing.T) { runProgram(t, java, "LettuceMain", list) },
		"jedis secure":   func(t *testing.T) { t.Parallel(); runSecure(t, java, "JedisSecure") },
		"lettuce secure": func(t *testing.T) { t.Parallel(); runSecure(t, java, "LettuceSecure") },
		"cluster": func(t *testing.T) {
			t.Parallel()
			eachCluster(t, func(t *testing.T, to *clusterTarget) {
				to.run(t, java, "JedisCluster", without(clusterChecks, "transaction"))
				to.run(t, java, "LettuceCluster", clusterChecks)
			})
		},
	} {
		t.Run(name, check)
	}
}
