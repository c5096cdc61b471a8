package web

// shown are the titles of the posts on the page, by rank.
var shown = map[int]string{
	1: "Heron in fog", 2: "Two cats, one box", 3: "The last tram", 5: "Bread, 6 a.m.",
	9: "Snow on the Andes", 24: "Borrowed bicycle", 90: "Grandmother’s loom", 400: "A very small moth",
}

var (
	subjects = [...]string{
		"Owl", "Lighthouse", "Teapot", "Night market", "Kite", "Old map", "Fox", "Rain", "Violin", "Ferry", "Pine", "Chess game", "Kitchen",
		"Stairs", "Harbour", "Swift", "Orange peel", "Lantern", "Moss", "Rooftop", "Goat", "Canal", "Letter", "Piano", "Umbrella",
	}
	scenes = [...]string{
		"at noon", "by the river", "in March", "from below", "after the storm", "on Sunday", "in blue", "at the border", "upside down", "before dawn",
		"in a hurry", "seen twice", "on the roof", "with dog", "under ice", "in pieces", "for sale", "at low tide", "in the mirror", "without sound",
		"next door", "on paper", "in the wind", "far away", "at home", "in two colours", "by candle", "on the train", "of my aunt", "in the attic",
		"at the end", "on a string", "behind glass", "in transit", "at rest", "on stage", "in red", "by mistake", "underfoot", "once more",
	}
)

// Title is that of the post of a rank; all differ.
func Title(rank int) string {
	if title := shown[rank]; title != "" {
		return title
	}
	return subjects[rank%len(subjects)] + " " + scenes[(2*rank+rank/len(subjects))%len(scenes)]
}
