// The person's theme: the system's, or one that was chosen. theme.js in web/public applies it before the first paint.
export type Theme = 'system' | 'light' | 'dark'
const key = 'meadow-theme'

export function currentTheme(): Theme {
  const theme = document.documentElement.dataset.theme
  return theme === 'light' || theme === 'dark' ? theme : 'system'
}

export function setTheme(theme: Theme): void {
  const { dataset } = document.documentElement
  if (theme === 'system') delete dataset.theme
  else dataset.theme = theme
  try {
    if (theme === 'system') localStorage.removeItem(key)
    else localStorage.setItem(key, theme)
  } catch {
    // Storage is forbidden: the choice holds for this page only.
  }
}
