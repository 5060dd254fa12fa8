// Light or dark: as the system says, unless one is chosen here.

import { useEffect, useState } from 'preact/hooks';

const KEY = 'theme';
const CHOICES = ['auto', 'light', 'dark'];

const isDark = matchMedia('(prefers-color-scheme: dark)');

function apply(choice: string) {
  const { dataset } = document.documentElement;
  if (choice === 'auto') dataset.theme = isDark.matches ? 'dark' : 'light';
  else dataset.theme = choice;
  dispatchEvent(new Event('theme'));
}

const chosen = () => {
  const kept = localStorage.getItem(KEY) ?? 'auto';
  return CHOICES.includes(kept) ? kept : 'auto';
};

export function startTheme() {
  apply(chosen());
  isDark.addEventListener('change', () => apply(chosen()));
}

/** A colour as it is now, for what is drawn. */
export const colour = (name: string) =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Changes with the theme: what is drawn depends on it. */
export function useTheme(): string {
  const [theme, setTheme] = useState(document.documentElement.dataset.theme ?? '');
  useEffect(() => {
    const changed = () => setTheme(document.documentElement.dataset.theme ?? '');
    addEventListener('theme', changed);
    changed();
    return () => removeEventListener('theme', changed);
  }, []);
  return theme;
}

export function ThemeSwitch() {
  const [choice, setChoice] = useState(chosen);
  return (
    <div class="theme">
      <select
        aria-label="Colours"
        value={choice}
        onChange={({ currentTarget: { value } }) => {
          localStorage.setItem(KEY, value);
          setChoice(value);
          apply(value);
        }}
      >
        <option value="auto">System colours</option>
        <option value="light">Light</option>
        <option value="dark">Dark</option>
      </select>
    </div>
  );
}
