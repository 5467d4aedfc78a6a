// Makes the pages work without a network, by the service worker in web/sw.ts. Failing is no harm: the page then needs the relay, as before.
export function registerOffline(): void {
  if (!import.meta.env.PROD || !('serviceWorker' in navigator)) return
  const register = (): void => void navigator.serviceWorker.register('/sw.js', { scope: '/' }).catch(() => {})
  // After the page has what it needs, so that the copies do not compete with it.
  if (document.readyState === 'complete') register()
  else addEventListener('load', register, { once: true })
}
