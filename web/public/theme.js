// Runs before the first paint, from the head: the chosen theme without a flash. Kept out of the bundle because modules run after parsing.
try {
  const theme = localStorage.getItem('meadow-theme')
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme
} catch {
  // Storage is forbidden: the system's theme it is.
}
