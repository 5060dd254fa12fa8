import { createElement as element } from 'react';

/** @param {{ children: import('react').ReactNode }} properties */
export default function Layout({ children }) {
  return element('html', { lang: 'en' }, element('body', null, children));
}
