"""Single pictures of a set: copies of one another, odd ones, and a row of numbers for each."""
